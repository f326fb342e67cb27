"""The HTTP front: auth_request, forward-auth and Envoy's http_service.

listener connection owner     all connections of a port; one of them: parsing, limits; what it needs of the listener
messages spellings            what a connection hands over and gets back; names of headers as peers write them
routes                        from the path to the form of the answer and the application
front answers expiring        the check; its answers; those that nginx may keep
"""

"""The HTTP front: auth_request, forward-auth and Envoy's http_service.

listener connection messages  all connections of a port; one of them: parsing, limits; what it hands over and gets back
routes                        from the path to the form of the answer and the application
front answers expiring        the check; its answers; those that nginx may keep
"""

"""The HTTP front: auth_request, forward-auth and Envoy's http_service."""

"""Our own HTTP/2, for gRPC calls. The services that are called are in `serve/grpc/`.

listener connection      all connections of a port; one of them: transport, back pressure, idle and slow peers
receiving rate           what a peer sends: the rules for its frames, and how many may carry no call
frames headers fields    the bytes of frames; header blocks, and HPACK
sending streams          what is sent within the windows of the peer; the calls that are open
grpc_methods             which method a call is for; an unknown one is UNIMPLEMENTED
grpc_messages            the messages in the body of a call
grpc_failures            status codes, and the headers that say one
"""

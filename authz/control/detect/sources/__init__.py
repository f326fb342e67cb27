"""Where events come from besides `POST /v1/events`.

config   `sources` of control.yaml
envoy    Envoy's gRPC access log service
syslog   nginx's access log by syslog: UDP, TCP, a unix socket
file     a log file, followed through rotations
feeder   what they share: lines to events, events to the intake
"""

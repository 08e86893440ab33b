"""The messages and stubs of the gRPC API as they are, generated from its definitions when the package is built.

`gangline.Client` is the comfortable way. With these every call of the API can be made: `job_service_pb2_grpc` has the
stubs, `job_service_pb2` their messages.
"""

"""A client that knows one thing beforehand: the public gRPC reflection protocol.

It reads none of the project's files. Services, methods and messages are discovered from the running
server, as grpcurl does, and requests are built from plain dictionaries by descriptor. What it can
do, any client in any language can do.
"""
import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory

FIELD = descriptor_pb2.FieldDescriptorProto


def reflection_file(version):
    """The part of grpc/reflection/<version>/reflection.proto that is needed, written by hand."""
    package = "grpc.reflection." + version
    file = descriptor_pb2.FileDescriptorProto(name="reflection_%s.proto" % version,
                                              package=package, syntax="proto3")

    def message(name, fields, oneof=None):
        made = file.message_type.add(name=name)
        if oneof:
            made.oneof_decl.add(name=oneof)
        for number, (field, kind, more) in fields.items():
            added = made.field.add(name=field, number=number, type=kind,
                                   label=FIELD.LABEL_OPTIONAL)
            if "type" in more:
                added.type_name = ".%s.%s" % (package, more["type"])
            if more.get("repeated"):
                added.label = FIELD.LABEL_REPEATED
            if more.get("oneof"):
                added.oneof_index = 0

    text, data, inner, integer = (FIELD.TYPE_STRING, FIELD.TYPE_BYTES, FIELD.TYPE_MESSAGE,
                                  FIELD.TYPE_INT32)
    one = {"oneof": True}
    message("ServerReflectionRequest",
            {1: ("host", text, {}), 3: ("file_by_filename", text, one),
             4: ("file_containing_symbol", text, one), 7: ("list_services", text, one)}, "request")
    message("FileDescriptorResponse", {1: ("file_descriptor_proto", data, {"repeated": True})})
    message("ServiceResponse", {1: ("name", text, {})})
    message("ListServiceResponse",
            {1: ("service", inner, {"type": "ServiceResponse", "repeated": True})})
    message("ErrorResponse", {1: ("error_code", integer, {}), 2: ("error_message", text, {})})
    message("ServerReflectionResponse",
            {1: ("valid_host", text, {}),
             4: ("file_descriptor_response", inner, dict(one, type="FileDescriptorResponse")),
             6: ("list_services_response", inner, dict(one, type="ListServiceResponse")),
             7: ("error_response", inner, dict(one, type="ErrorResponse"))}, "response")
    return file


class ReflectionError(Exception):
    """The server answered a question of reflection with an error."""


class StockClient:
    """Discovers everything from a channel."""

    def __init__(self, channel, version="v1"):
        self.channel = channel
        pool = descriptor_pool.DescriptorPool()
        pool.Add(reflection_file(version))
        factory = message_factory.MessageFactory(pool)
        package = "grpc.reflection.%s." % version
        self.Request, self.Response = (
            factory.GetPrototype(pool.FindMessageTypeByName(package + name))
            for name in ("ServerReflectionRequest", "ServerReflectionResponse"))
        self.path = "/grpc.reflection.%s.ServerReflection/ServerReflectionInfo" % version
        self.pool = descriptor_pool.DescriptorPool()
        self.factory = message_factory.MessageFactory(self.pool)
        self.known_files = set()

    def reflect(self, *questions):
        """Asks on one stream, in order; one answer per question."""
        call = self.channel.stream_stream(
            self.path, request_serializer=self.Request.SerializeToString,
            response_deserializer=self.Response.FromString)
        answers = list(call(iter([self.Request(**q) for q in questions]), timeout=20,
                            wait_for_ready=True))
        for answer in answers:
            if answer.HasField("error_response"):
                raise ReflectionError("%d %s" % (answer.error_response.error_code,
                                                 answer.error_response.error_message))
        return answers

    def services(self):
        answer, = self.reflect({"list_services": "*"})
        return sorted(service.name for service in answer.list_services_response.service)

    def learn(self, **question):
        """Adds the asked file and, first, all that it imports."""
        answer, = self.reflect(question)
        files = [descriptor_pb2.FileDescriptorProto.FromString(raw)
                 for raw in answer.file_descriptor_response.file_descriptor_proto]
        by_name = {file.name: file for file in files}

        def add(file):
            if file.name in self.known_files:
                return
            self.known_files.add(file.name)
            for name in file.dependency:
                if name in by_name:
                    add(by_name[name])
                elif name not in self.known_files:
                    self.learn(file_by_filename=name)
            self.pool.Add(file)

        for file in files:
            add(file)

    def service(self, name):
        try:
            return self.pool.FindServiceByName(name)
        except KeyError:
            self.learn(file_containing_symbol=name)
            return self.pool.FindServiceByName(name)

    def request(self, service, method, fields):
        """The request's bytes, from a dictionary (bytes as base64, as in protobuf's JSON)."""
        described = self.service(service).FindMethodByName(method)
        message = self.factory.GetPrototype(described.input_type)()
        return json_format.ParseDict(fields, message).SerializeToString(deterministic=True)

    def send(self, service, method, body, timeout=30):
        """One unary call: the answer's bytes."""
        return self.channel.unary_unary("/%s/%s" % (service, method))(body, timeout=timeout,
                                                                      wait_for_ready=True)

    def read(self, service, method, body):
        """An answer's bytes as a dictionary."""
        described = self.service(service).FindMethodByName(method)
        message = self.factory.GetPrototype(described.output_type).FromString(body)
        return json_format.MessageToDict(message, preserving_proto_field_name=True,
                                         including_default_value_fields=True)

    def call(self, service, method, fields):
        return self.read(service, method,
                         self.send(service, method, self.request(service, method, fields)))


def status_of(call):
    """The gRPC status code of a call that is expected to fail, by name."""
    try:
        call()
        return "OK"
    except grpc.RpcError as error:
        return error.code().name

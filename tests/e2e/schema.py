"""Message classes of the project's .proto files, made at test time by protoc.

Nothing generated is kept in the repository: the descriptors come from the same files that the
daemon is built from, through `protoc --descriptor_set_out`.
"""
import os
import subprocess
import tempfile

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


class Schema:
    """Descriptors in a pool of their own, and message classes by full name."""

    def __init__(self, files):
        self.pool = descriptor_pool.DescriptorPool()
        for file in files:
            self.pool.Add(file)
        self.factory = message_factory.MessageFactory(self.pool)

    def message(self, full_name):
        return self.factory.GetPrototype(self.pool.FindMessageTypeByName(full_name))

    def enum(self, full_name):
        """Names to numbers."""
        return {v.name: v.number for v in self.pool.FindEnumTypeByName(full_name).values}

    def methods(self, service):
        """Method name -> (request class, response class)."""
        return {m.name: (self.factory.GetPrototype(m.input_type),
                         self.factory.GetPrototype(m.output_type))
                for m in self.pool.FindServiceByName(service).methods}


def compile_project():
    """The schema of proto/ in the source tree."""
    proto = os.path.join(ROOT, "proto")
    files = []
    for directory, _, names in os.walk(proto):
        files += [os.path.relpath(os.path.join(directory, n), proto)
                  for n in names if n.endswith(".proto")]
    with tempfile.TemporaryDirectory() as scratch:
        out = os.path.join(scratch, "set")
        subprocess.run(["protoc", "-I" + proto, "--include_imports", "--descriptor_set_out=" + out]
                       + sorted(files), check=True, timeout=60)
        with open(out, "rb") as file:
            return Schema(descriptor_pb2.FileDescriptorSet.FromString(file.read()).file)

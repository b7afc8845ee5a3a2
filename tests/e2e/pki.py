"""A certificate authority for tests, made with the openssl command.

The project's own `tally pki init` makes the certificates a deployment uses; a test needs more: ones
that are expired, of another authority, revoked, without a URI name or with two of them. Every
certificate here has a P-256 key, and the database of `openssl ca` lets one be revoked afterwards.
"""
import datetime
import os
import subprocess

CONFIG = """
[ca]
default_ca = test
[test]
dir = {directory}
database = {directory}/index.txt
serial = {directory}/serial
crlnumber = {directory}/crlnumber
new_certs_dir = {directory}/issued
certificate = {directory}/ca.crt
private_key = {directory}/ca.key
default_md = sha256
default_days = 90
default_crl_days = 90
policy = any
unique_subject = no
[any]
commonName = supplied
[req]
distinguished_name = name
prompt = no
[name]
commonName = {name}
[authority]
basicConstraints = critical,CA:TRUE
keyUsage = critical,keyCertSign,cRLSign
subjectKeyIdentifier = hash
"""


def run(*arguments):
    """Runs a command and returns its output; its error text is in the exception."""
    done = subprocess.run(arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=180)
    if done.returncode != 0:
        raise RuntimeError("%s\nfailed with %d:\n%s" % (" ".join(arguments), done.returncode,
                                                       done.stdout.decode(errors="replace")))
    return done.stdout


class Certificate:
    """Paths of one key pair, and its bytes for gRPC."""

    def __init__(self, certificate, key, uri):
        self.certificate = certificate
        self.key = key
        self.uri = uri

    def certificate_bytes(self):
        with open(self.certificate, "rb") as file:
            return file.read()

    def key_bytes(self):
        with open(self.key, "rb") as file:
            return file.read()


class Authority:
    """One certificate authority in a directory of its own."""

    def __init__(self, directory, name="Test authority"):
        self.directory = directory
        os.makedirs(os.path.join(directory, "issued"))
        self.config = os.path.join(directory, "openssl.cnf")
        with open(self.config, "w") as file:
            file.write(CONFIG.format(directory=directory, name=name))
        for name_of_file, text in (("index.txt", ""), ("serial", "1000\n"), ("crlnumber", "01\n")):
            with open(os.path.join(directory, name_of_file), "w") as file:
                file.write(text)
        self.certificate = os.path.join(directory, "ca.crt")
        self.key = os.path.join(directory, "ca.key")
        self.crl = os.path.join(directory, "ca.crl")
        run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
            "-nodes", "-config", self.config, "-extensions", "authority", "-days", "90",
            "-keyout", self.key, "-out", self.certificate)
        self.write_crl()

    def certificate_bytes(self):
        with open(self.certificate, "rb") as file:
            return file.read()

    def write_crl(self):
        run("openssl", "ca", "-config", self.config, "-gencrl", "-out", self.crl)

    def issue(self, name, uris=(), usage="clientAuth", extra_names=(), days=(-1, 90)):
        """Issues a certificate valid from today + days[0] to today + days[1]."""
        base = os.path.join(self.directory, name)
        now = datetime.datetime.now(datetime.timezone.utc)
        start, end = ((now + datetime.timedelta(days=d)).strftime("%Y%m%d%H%M%SZ") for d in days)
        names = ["URI:" + uri for uri in uris] + list(extra_names)
        with open(base + ".ext", "w") as file:
            file.write("basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\n")
            file.write("extendedKeyUsage=%s\n" % usage)
            if names:
                file.write("subjectAltName=%s\n" % ",".join(names))
        run("openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
            "-keyout", base + ".key", "-out", base + ".csr", "-subj", "/CN=" + name)
        run("openssl", "ca", "-batch", "-notext", "-config", self.config, "-in", base + ".csr",
            "-out", base + ".crt", "-extfile", base + ".ext", "-startdate", start, "-enddate", end)
        return Certificate(base + ".crt", base + ".key", uris[0] if len(uris) == 1 else None)

    def issue_server(self, name, uri, extra_names=()):
        return self.issue(name, uris=[uri], usage="serverAuth,clientAuth",
                          extra_names=["DNS:localhost", "IP:127.0.0.1"] + list(extra_names))

    def revoke(self, certificate):
        """Adds the certificate to the list of revoked ones and writes the list anew."""
        run("openssl", "ca", "-config", self.config, "-revoke", certificate.certificate)
        self.write_crl()

# The steps of docs/src/install/debian.md for the administrator, and the NATS server that the tests run on the same
# machine. This text follows lib.py; `run` sets the constants.
import secrets

PAYLOAD = "/payload"
HAS_CLOUDFLARED = True

SERVER_NAME = "chat.your.domain"
ETC = "/etc/nats-matrix"
SECRETS = f"{ETC}/secrets"
TUNNEL_CREDENTIALS = f"{ETC}/tunnel.json"
SERVICES = ["nats-matrix-conduit", "nats-matrix-tunnel", "nats-matrix"]
"""The services of the package, in the documented order."""


def install_hub(tls: bool = False) -> None:
    """Installs NATS and its command line tool."""
    server.start(allow_reboot=True)
    server.succeed(
        f"mkdir -p {PAYLOAD} && tar -xf /dev/vdb -C {PAYLOAD}",
        # Every server with a network has one, and Conduit does not start without it.
        "echo nameserver 127.0.0.1 > /etc/resolv.conf",
        f"install -m 755 {PAYLOAD}/nats-server {PAYLOAD}/nats /usr/local/bin",
        f"install -D -m 644 {PAYLOAD}/hub/nats{'-tls' if tls else ''}.conf /etc/nats/nats.conf",
        f"install -m 644 {PAYLOAD}/hub/nats.service /etc/systemd/system",
    )
    if tls:
        make_certificates()
    server.succeed("systemctl enable --now nats")


def make_certificates() -> None:
    """Creates a private CA as people usually do, without a keyUsage extension, and the hub's certificate and seed."""
    ec = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
    server.succeed(
        f"cd /etc/nats && openssl req -x509 {ec} -days 36500 -subj '/CN=Private CA'"
        " -addext basicConstraints=critical,CA:TRUE -keyout ca.key -out ca.pem 2>&1",
        f"cd /etc/nats && openssl req {ec} -subj /CN=hub -keyout hub.key -out hub.csr 2>&1",
        "cd /etc/nats && printf 'subjectAltName=DNS:hub\\n' > extensions"
        " && openssl x509 -req -in hub.csr -CA ca.pem -CAkey ca.key -days 36500 -extfile extensions -out hub.pem 2>&1",
        f"printf %s {SEEDS['right']} > /etc/nats/right.nk",
    )


def install_package(file: str = "nats-matrix.deb") -> None:
    """Installs or upgrades the package with apt, without a network."""
    print(server.succeed(f"apt-get install -qqy -o Dpkg::Use-Pty=0 {PAYLOAD}/{file} 2>&1 | grep -v ^debconf:"))


def install_homeserver() -> None:
    """Installs Conduit's binary at the path in its documentation, or its stand-in."""
    if HAS_CONDUIT:
        server.succeed(f"install -m 755 {PAYLOAD}/conduit /usr/local/bin/matrix-conduit")
        return
    server.succeed(
        f"cp -r {PAYLOAD}/synapse-packages /opt/synapse",
        f"install -m 755 {PAYLOAD}/synapse/matrix-conduit /usr/local/bin",
        f"install -D -m 644 -t {ETC}/synapse {PAYLOAD}/synapse/*.yaml",
        f"sed -i 's/chat.example.com/{SERVER_NAME}/' {ETC}/synapse/homeserver.yaml",
        f"install -D -m 644 -t /etc/systemd/system/nats-matrix-conduit.service.d {PAYLOAD}/synapse/synapse.conf",
        # Accounts are created while it runs, and by hand, as for a homeserver elsewhere.
        "systemctl mask nats-matrix-provision 2>&1",
    )
    shared_secret = secrets.token_urlsafe(24)
    write_secret(f"{SECRETS}/registration", shared_secret)
    server.succeed(f"echo 'registration_shared_secret: {shared_secret}' >> {ETC}/synapse/homeserver.yaml")


def install_tunnel() -> None:
    """Installs the tunnel's program at the path of its package."""
    server.succeed(f"install -m 755 {PAYLOAD}/cloudflared /usr/bin")


def configure(tls: bool = False) -> None:
    """Sets the names of the server, as documented, and of NATS. The tests expect the package's other defaults."""
    server.succeed(f"cd {ETC} && sed -i 's/chat\\.example\\.com/{SERVER_NAME}/' config.toml conduit.toml tunnel.yml")
    address = f"{'tls' if tls else 'nats'}://hub:4222"
    server.succeed(f"sed -i 's|nats://nats.example.com:4222|{address}|' {ETC}/config.toml")
    # The scenarios count messages, so there must be no digests.
    server.succeed(f"sed -i 's|^stream = .*|&\\ndigest_above = 0|' {ETC}/config.toml")
    if tls:
        server.succeed(
            f"""sed -i 's|^#ca_file = .*|ca_file = "/etc/nats/ca.pem"|' {ETC}/config.toml""",
            f"""sed -i 's|^#nkey_seed_file = .*|nkey_seed_file = "secrets/nats-nkey-seed"|' {ETC}/config.toml""",
        )
    if not HAS_CONDUIT:
        server.succeed(
            f"""sed -i 's|^conduit = .*|registration_secret_file = "secrets/registration"|' {ETC}/config.toml""",
            f"sed -i '/^conduit_program = /d' {ETC}/config.toml",
        )


def set_up(tls: bool = False) -> None:
    """Prepares the machine for a scenario: everything is installed and runs, except services that lack secrets."""
    install_hub(tls)
    install_package()
    install_homeserver()
    if HAS_CLOUDFLARED:
        install_tunnel()
    configure(tls)
    server.succeed(f"systemctl enable --now --no-block {' '.join(SERVICES)} 2>&1")

# Everything that must be closed is closed: registration, the homeserver's port for other machines, federation, and in
# the tunnel everything but the client API. cloudflared itself evaluates the tunnel's rules; there is no Cloudflare in a
# test, so the tunnel never becomes ready and has to report that.
import re

TUNNEL = "6f6e2d1c-1111-4222-8333-444455556666"
CREDENTIALS = {"AccountTag": "0" * 32, "TunnelID": TUNNEL, "TunnelSecret": "c2VjcmV0IG9mIHRoZSB0dW5uZWwsIDMyIGJ5dGU="}

HOMESERVER_RULE = "http://127.0.0.1:6167"
RULES = {
    f"https://{SERVER_NAME}/_matrix/client/versions": HOMESERVER_RULE,
    f"https://{SERVER_NAME}/_matrix/client/v3/sync": HOMESERVER_RULE,
    f"https://{SERVER_NAME}/_matrix/client/v3/login": HOMESERVER_RULE,
    f"https://{SERVER_NAME}/_matrix/client/v1/media/download/{SERVER_NAME}/file": HOMESERVER_RULE,
    f"https://{SERVER_NAME}/_matrix/media/v3/upload": HOMESERVER_RULE,
    f"https://{SERVER_NAME}/.well-known/matrix/client": HOMESERVER_RULE,
    f"https://{SERVER_NAME}/_matrix/client/v3/register": "http_status:403",
    f"https://{SERVER_NAME}/_matrix/client/r0/register": "http_status:403",
    f"https://{SERVER_NAME}/_matrix/client/r0/register/available": "http_status:403",
    f"https://{SERVER_NAME}/_matrix/client/v3/%72egister": "http_status:403",
    f"https://{SERVER_NAME}/_matrix/client//v3/register": "http_status:403",
    f"https://{SERVER_NAME}/_matrix/client/v3/login/../register": "http_status:403",
    f"https://{SERVER_NAME}/": "http_status:404",
    f"https://{SERVER_NAME}/metrics": "http_status:404",
    f"https://{SERVER_NAME}/_synapse/admin/v1/register": "http_status:404",
    f"https://{SERVER_NAME}/_conduit": "http_status:404",
    f"https://{SERVER_NAME}/_matrix/federation/v1/version": "http_status:404",
    f"https://{SERVER_NAME}/_matrix/key/v2/server": "http_status:404",
    f"https://{SERVER_NAME}/.well-known/matrix/server": "http_status:404",
    f"https://{SERVER_NAME}/x/_matrix/client/versions": "http_status:404",
    "https://other.example.com/_matrix/client/versions": "http_status:404",
    "https://other.example.com/.well-known/matrix/client": "http_status:404",
}


def registration(user: str) -> Json:
    """Returns the body of a registration request without a token."""
    return {"auth": {"type": "m.login.dummy"}, "username": user, "password": "let me in", "inhibit_login": True}


def listening() -> set[str]:
    """Returns the addresses on which the server listens."""
    return {line.split()[3] for line in server.succeed("ss -Htln").splitlines()}


prepare({TUNNEL_CREDENTIALS: json.dumps(CREDENTIALS)})

with subtest("nobody can register, by any version of the API, not even as a guest"):
    for path in ("v3/register", "r0/register", "v3/register?kind=guest"):
        status, answer = call("POST", f"/_matrix/client/{path}", registration("mallory"))
        assert_equal(f"the answer to {path}", (status, answer.get("errcode")), (403, "M_FORBIDDEN"))

with subtest("the homeserver listens on loopback only"):
    addresses = {address for address in listening() if address.endswith(":6167")}
    assert_equal("the addresses of port 6167", addresses, {"127.0.0.1:6167"})

with subtest("another machine cannot reach the homeserver"):
    if hub is not server:
        hub.succeed("ping -c 1 server")
        hub.fail("curl --silent --max-time 20 http://server:6167/_matrix/client/versions")
    else:
        print("skipped: there is only one machine")

with subtest("the homeserver does not federate"):
    for path in ("/_matrix/federation/v1/version", "/_matrix/key/v2/server", "/.well-known/matrix/server"):
        status, answer = call("GET", path)
        seen = (status, answer.get("error"))
        assert_equal(f"the answer to {path}", seen, (500, "Federation is disabled."))

with subtest("the tunnel lets the client API through and nothing else"):
    command = server.get_unit_property("nats-matrix-tunnel.service", "ExecStart")
    program = re.search(r"path=(\S+)", command)
    assert program, f"expected the path of cloudflared, seen: {command}"
    for url, expected in RULES.items():
        arguments = f"tunnel --config /etc/nats-matrix/tunnel.yml ingress rule {url}"
        verdict = server.succeed(f"{program[1]} {arguments} 2>/dev/null")
        assert_equal(f"the rule for {url}", verdict.split("service:")[-1].strip(), expected)

with subtest("a tunnel without an edge does not say that it is ready"):
    server.succeed(
        "mkdir -p /run/systemd/system/nats-matrix-tunnel.service.d",
        f"printf '[Service]\\nEnvironment={NO_EDGE}\\n' > /run/systemd/system/nats-matrix-tunnel.service.d/edge.conf",
        "systemctl daemon-reload && systemctl restart --no-block nats-matrix-tunnel",
    )
    ready = "curl --silent --max-time 10 --output /dev/null --write-out '%{http_code}' http://127.0.0.1:20241/ready"
    wait_until("503 of the tunnel's /ready", lambda: server.execute(ready)[1] == "503")
    server.succeed(f"journalctl -u nats-matrix-tunnel | grep -F 'Starting tunnel tunnelID={TUNNEL}'")
    others = {address for address in listening() if address.endswith(":20241")} - {"127.0.0.1:20241"}
    assert_equal("further addresses of the metrics port", others, set())

with subtest("nobody can register while accounts are made: at the first start, at a restart, and thereafter"):
    server.succeed(
        "systemctl stop nats-matrix nats-matrix-tunnel nats-matrix-conduit nats-matrix-provision",
        "rm -rf /var/lib/private/nats-matrix*",
    )
    others = listening()
    body = shlex.quote(json.dumps(registration("mallory")))
    ask = f"curl --silent --max-time 10 --output /dev/null --write-out '%{{http_code}}' --json {body}"
    with repeated(
        f'echo "status $({ask} {HOMESERVER}/_matrix/client/v3/register)"\n'
        'ss -Htln | while read -r _ _ _ address _; do echo "address $address"; done'
    ) as polled:
        server.succeed("systemctl start nats-matrix-conduit", timeout=PATIENCE)
        wait_for_homeserver()
        alice = generated_password("alice")
        provision()
        Phone("alice", alice)
    print(dict(polled))
    statuses = {line.split()[1] for line in polled if line.startswith("status ")}
    assert_equal("the answers, 000 for none", statuses, {"000", "403"})
    # The Conduit that allows registration is in a network namespace of its own.
    addresses = {line.split()[1] for line in polled if line.startswith("address ")}
    assert_equal("further addresses on which the server listened", addresses - others, {"127.0.0.1:6167"})

finish()

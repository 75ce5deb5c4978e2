# The generated passwords, the bridge's access token and the tunnel's secret are only where they have to be: not in a
# file that others can read, a command line, an environment or the journal. A decoy shows that each of these searches
# can find something.
import re
import secrets

TUNNEL_SECRET = "dGhpcyBpcyB0aGUgc2VjcmV0IG9mIHRoZSB0dW5uZWw="
TUNNEL = {
    "AccountTag": "0" * 32,
    "TunnelID": "6f6e2d1c-1111-4222-8333-444455556666",
    "TunnelSecret": TUNNEL_SECRET,
}
UNITS = ["nats-matrix", "nats-matrix-check", "nats-matrix-conduit", "nats-matrix-provision", "nats-matrix-tunnel"]
STATE = "/var/lib/nats-matrix"
CREDENTIALS = "/run/credentials/nats-matrix.service"
DECOY = "/root/decoy"
NEEDLES = "/root/needles"


def named_files() -> str:
    """Returns the unit files, and all files in the Nix store or the system's directories that they name."""
    text = server.execute(f"systemctl cat {' '.join(UNITS)} 2>/dev/null")[1]
    return " ".join(sorted(set(re.findall(r"/(?:nix/store|etc|lib|usr)/[^\s\"'=:;]+", text))))


def finds(needles: str) -> dict[str, str]:
    """Returns the places that have one of the texts in the file `needles`, by the kind of place.

    The texts are in a file so that they are not in the search's own command line.
    """
    searches = {
        "files that everybody can read": (
            f"find -L /etc /run/systemd /run/nats-matrix* /var/lib/nats-matrix* /tmp {named_files()}"
            f" -xdev -type f -perm -004 -print0 | xargs -0 -r grep -s -l -F -f {needles}"
        ),
        "command lines": f"grep -s -l -F -f {needles} /proc/[0-9]*/cmdline",
        "environments": f"grep -s -l -F -f {needles} /proc/[0-9]*/environ",
        "the journal": f"journalctl --sync; journalctl -b --no-pager -o export | grep -a -o -F -f {needles} | sort -u",
    }
    # The exit code of a search only says that some process or file disappeared meanwhile.
    places = {where: server.execute(f"{{ {search} ; }} 2>/dev/null || true")[1] for where, search in searches.items()}
    return {where: place.strip() for where, place in places.items() if place.strip()}


phone = prepare({TUNNEL_CREDENTIALS: json.dumps(TUNNEL)})
server.succeed("systemctl restart --no-block nats-matrix-tunnel")
publish("ops.report.server-01", json.dumps({"host": "server-01", "disk_percent": 14}))
phone.wait_for(1)
check()

with subtest("the session of the bridge is for the bridge alone"):
    assert_equal("mode of session.json", server.succeed(f"stat -L -c %a {STATE}/session.json").strip(), "600")
    session = json.loads(server.succeed(f"cat {STATE}/session.json"))

with subtest("and so are the passwords for root"):
    for file in ("bridge-password", "passwords/alice"):
        assert_equal(f"the mode of {file}", server.succeed(f"stat -L -c %a {PASSWORDS}/{file}").strip(), "600")
    passwords = [generated_password(user) for user in ("bridge", "alice")]
    needles = [*passwords, session["access_token"], TUNNEL_SECRET]
    assert all(len(needle) > 16 for needle in needles), "expected secrets that are worth searching for"

with subtest("the searches find a decoy in each kind of place"):
    decoy = secrets.token_hex(16)
    write_secret(DECOY, decoy)
    server.succeed(
        f"cp {DECOY} /tmp/decoy && chmod 644 /tmp/decoy",
        f"systemd-cat cat {DECOY}",
        f"systemd-run --unit=decoy --setenv=DECOY={decoy} sh -c 'sleep 100000; : {decoy}' 2>&1",
    )
    found = finds(DECOY)
    print(found)
    expected = {"files that everybody can read", "command lines", "environments", "the journal"}
    assert_equal("places with the decoy", set(found), expected)
    server.succeed("systemctl stop decoy.service", "rm /tmp/decoy")

with subtest("the secrets are in none of these places, not even while accounts are made"):
    write_secret(NEEDLES, "\n".join(needles))
    processes = f"grep -s -l -F -f {NEEDLES} /proc/[0-9]*/cmdline /proc/[0-9]*/environ"
    with repeated(f"{processes}; echo searched") as polled:
        provision()
    assert_equal("processes with a secret", set(polled), {"searched"})
    server.wait_for_unit("nats-matrix.service")
    assert_equal("the passwords", [generated_password(user) for user in ("bridge", "alice")], passwords)
    assert_equal("places with a secret", finds(NEEDLES), {})

with subtest("the bridge is handed what is for it, and nothing of other services"):
    handed_over = server.succeed(f"ls {CREDENTIALS}").split()
    its_own = re.compile(r"bridge-password|(secrets_)?(nats|matrix)[-.].*")
    foreign = [name for name in handed_over if not its_own.fullmatch(name)]
    assert_equal("what is not for the bridge", foreign, [])
    assert "bridge-password" in handed_over, f"expected the password of the bridge, seen: {handed_over}"

with subtest("the credentials of the running service can be read by it alone"):
    read = f"cat {CREDENTIALS}/bridge-password"
    assert_equal("the credential", server.succeed(read).strip(), passwords[0])
    as_user = "systemd-run --quiet --wait --pipe --uid"
    assert_equal("the credential as root", server.succeed(f"{as_user}=root {read}").strip(), passwords[0])
    server.fail(f"{as_user}=nobody {read}")
    server.fail(f"{as_user}=nobody cat {STATE}/session.json")
    server.fail(f"{as_user}=nobody cat {PASSWORDS}/passwords/alice")

finish()

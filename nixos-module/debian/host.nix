# What the Debian package declares: everything on, names for its administrator to replace, and units that wait for what
# the package cannot bring. `nats-matrix check` says what a unit waits for, and its Documentation= as the place to get it.
{ lib, ... }:
let
  # One entry for all secrets of the bridge, whichever the configuration names: a file x in there is the credential
  # secrets_x. The bridge finds it as "secrets/x", and so does `nats-matrix check` in root's terminal.
  secrets.serviceConfig.LoadCredential = [ "secrets:/etc/nats-matrix/secrets" ];

  waitsForConduit = {
    documentation = lib.mkForce [ "https://docs.conduit.rs/deploying/generic.html" ];
    # Where Conduit's documentation and its package put it. systemd looks in both for a program without a path.
    unitConfig.ConditionFileIsExecutable = [
      "|/usr/local/bin/matrix-conduit"
      "|/usr/sbin/matrix-conduit"
    ];
  };
in
{
  services.natsMatrix = {
    enable = true;
    serverName = "chat.example.com";
    nats.servers = [ "nats://nats.example.com:4222" ];
    reporter.enable = true;
    tunnel.credentialsFile = "/etc/nats-matrix/tunnel.json";
    routes.reports = {
      stream = "OPS";
      subjects = [ "ops.>" ];
      room = "ops";
    };
  };

  systemd.services = {
    nats-matrix = secrets;
    nats-matrix-check = secrets;
    nats-matrix-report = secrets;
    "nats-matrix-alert@" = secrets;
    nats-matrix-provision = lib.mkMerge [
      secrets
      waitsForConduit
    ];
    nats-matrix-conduit = lib.mkMerge [
      waitsForConduit
      { serviceConfig.ExecStart = lib.mkForce "matrix-conduit"; }
    ];
    nats-matrix-tunnel = {
      documentation = lib.mkForce [ "https://pkg.cloudflare.com/" ];
      unitConfig = {
        ConditionFileIsExecutable = "/usr/bin/cloudflared";
        ConditionPathExists = "/etc/nats-matrix/tunnel.json";
      };
    };
  };
}

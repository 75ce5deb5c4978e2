# The declaration of the Debian package: everything is enabled, the administrator replaces the names, and units wait for
# files that the package cannot bring. `nats-matrix check` says what a unit waits for, and the unit's Documentation=
# says where to get it.
{ lib, ... }:
let
  # A file x in this directory becomes the credential secrets_x. The bridge finds it as "secrets/x", and so does
  # `nats-matrix check` in root's terminal. A missing file becomes a newline, as in provision.nix. With a directory,
  # LoadCredential= passes each file as a credential.
  secrets = names: {
    serviceConfig = {
      LoadCredential = map (name: "secrets_${name}:/etc/nats-matrix/secrets/${name}") names;
      SetCredential = map (name: "secrets_${name}:\\n") names;
    };
  };
  # Each service gets every file that it may need, whichever of them the configuration names, and no others. The
  # postinst script knows these names, too.
  forNats = secrets [
    "nats-nkey-seed"
    "nats.creds"
    "nats-token"
    "nats-password"
    "nats-ca.pem"
    "nats-cert.pem"
    "nats-key.pem"
  ];
  forMatrix = secrets [
    "matrix-password"
    "matrix-access-token"
    "matrix-ca.pem"
  ];
  forAccounts = secrets [
    "registration"
    "people"
  ];

  waitsForConduit = {
    documentation = lib.mkForce [ "https://docs.conduit.rs/deploying/generic.html" ];
    # The paths in Conduit's documentation and in its package. systemd looks in both for a program without a path.
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
    nats-matrix = lib.mkMerge [
      forNats
      forMatrix
    ];
    nats-matrix-check = lib.mkMerge [
      forNats
      forMatrix
    ];
    nats-matrix-report = forNats;
    "nats-matrix-alert@" = forNats;
    nats-matrix-provision = lib.mkMerge [
      forMatrix
      forAccounts
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

{
  services.natsMatrix = {
    enable = true;

    # The part of your Matrix ids after the colon. It cannot be changed later.
    serverName = "chat.example.com";

    # Your NATS, and who the bridge is there.
    nats.servers = [ "tls://nats.example.com:4222" ];
    nats.nkeySeedFile = "/var/lib/secrets/bridge.nk";

    # The password of the bridge's account, and the tunnel that phones come in by.
    matrix.passwordFile = "/var/lib/secrets/matrix-password";
    tunnel.credentialsFile = "/var/lib/secrets/tunnel.json";

    # What goes where.
    routes.reports = {
      stream = "OPS";
      subjects = [ "ops.report.>" ];
      room = "ops";
      invite = [ "@alice:chat.example.com" ];
    };
  };
}

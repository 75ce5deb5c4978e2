{
  services.natsMatrix = {
    enable = true;

    # The part of your Matrix ids after the colon. It cannot be changed later.
    serverName = "chat.example.com";

    # Your NATS, and who the bridge is there.
    nats.servers = [ "tls://nats.example.com:4222" ];
    nats.nkeySeedFile = "/var/lib/secrets/bridge.nk";

    # The tunnel that phones come in by.
    tunnel.credentialsFile = "/var/lib/secrets/tunnel.json";

    # Who has an account, and the rooms: `sudo nats-matrix connect` shows what to type into Element.
    users.alice.admin = true;
    rooms.ops = {
      name = "Operations";
      invite = [ "alice" ];
    };

    # What goes where.
    routes.reports = {
      stream = "OPS";
      subjects = [ "ops.>" ];
      room = "ops";
    };
  };
}

{
  services.natsMatrix = {
    enable = true;

    # The part of your Matrix ids after the colon. It cannot be changed later.
    serverName = "chat.example.com";

    # Your NATS servers, and the bridge's credentials there.
    nats.servers = [ "tls://nats.example.com:4222" ];
    nats.nkeySeedFile = "/var/lib/secrets/bridge.nk";

    # The tunnel through which phones connect.
    tunnel.credentialsFile = "/var/lib/secrets/tunnel.json";

    # The accounts and the rooms: `sudo nats-matrix connect` shows what to type into Element.
    users.alice.admin = true;
    rooms.ops = {
      name = "Operations";
      invite = [ "alice" ];
    };

    # Which messages go into which room.
    routes.reports = {
      stream = "OPS";
      subjects = [ "ops.>" ];
      room = "ops";
    };
  };
}

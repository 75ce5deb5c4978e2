# The host of the README, a bit more talkative: units.nix compares what it becomes with golden/.
{
  services.natsMatrix = {
    enable = true;
    serverName = "chat.example.com";
    nats = {
      servers = [ "tls://nats.example.com:4222" ];
      caFile = "/etc/ssl/nats-ca.pem";
      nkeySeedFile = "/run/secrets/bridge.nk";
    };
    matrix.passwordFile = "/run/secrets/matrix-password";
    tunnel.credentialsFile = "/run/secrets/tunnel.json";
    routes = {
      reports = {
        stream = "OPS";
        subjects = [ "ops.report.>" ];
        room = "ops";
        invite = [ "@alice:chat.example.com" ];
      };
      alerts = {
        stream = "OPS";
        subjects = [ "ops.alert.*" ];
        room = "#alerts:chat.example.com";
        start = "new";
      };
    };
  };
}

# The host of docs/src/install/nixos.md with a few more options: units.nix compares its units with golden/.
{
  services.natsMatrix = {
    enable = true;
    serverName = "chat.example.com";
    nats = {
      servers = [ "tls://nats.example.com:4222" ];
      caFile = "/etc/ssl/nats-ca.pem";
      nkeySeedFile = "/run/secrets/bridge.nk";
    };
    reporter = {
      enable = true;
      interval = "*:0/15";
      disks = [
        "/"
        "/var"
      ];
    };
    tunnel.credentialsFile = "/run/secrets/tunnel.json";
    users = {
      alice.admin = true;
      bob = {
        displayName = "Bob";
        passwordFile = "/run/secrets/bob";
      };
    };
    rooms = {
      ops = {
        name = "Operations";
        topic = "What the servers say";
        invite = [
          "alice"
          "bob"
        ];
        post = "bridge";
      };
      alerts.invite = [ "alice" ];
    };
    display.timeZone = "Europe/Berlin";
    routes = {
      reports = {
        stream = "OPS";
        subjects = [ "ops.report.>" ];
        room = "ops";
      };
      alerts = {
        stream = "OPS";
        subjects = [ "ops.alert.*" ];
        room = "#alerts:chat.example.com";
        start = "new";
        language = "zh";
        timeZone = "Asia/Shanghai";
      };
    };
  };
}

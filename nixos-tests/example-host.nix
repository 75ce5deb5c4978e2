# The host of the README, a bit more talkative: what it becomes is compared with golden/ by units.nix.
{ lib, ... }:
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

  # The rest of a machine, as little as evaluates.
  fileSystems."/".device = lib.mkDefault "/dev/sda1";
  boot.loader.grub.device = lib.mkDefault "nodev";
  system.stateVersion = "26.05";
}

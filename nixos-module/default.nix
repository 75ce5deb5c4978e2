# services.natsMatrix: the bridge, its homeserver with accounts and rooms, the tunnel to it, and their memory limits;
# and the reports and alerts that any machine publishes about itself.
#
# The same module serves NixOS and system-manager (Debian), and renders the units of the Debian package. It therefore
# sets only options that all of them have: systemd.{services,slices,timers}, environment.{etc,systemPackages},
# assertions and warnings; and it has its own units for Conduit and cloudflared, so that they are the same everywhere.
{ config, lib, ... }:
let
  cfg = config.services.natsMatrix;
in
{
  imports = [
    ./bridge.nix
    ./conduit.nix
    ./nats.nix
    ./provision.nix
    ./reporter.nix
    ./tunnel.nix
    ./memory.nix
  ];

  options.services.natsMatrix = {
    enable = lib.mkEnableOption "nats-matrix, which brings reports and alerts from NATS into Matrix rooms";

    serverName = lib.mkOption {
      type = lib.types.strMatching "[a-zA-Z0-9.-]+(:[0-9]+)?";
      example = "chat.example.com";
      description = ''
        The name of the Matrix homeserver, the part of a user id after the colon: `@alice:chat.example.com`.
        It cannot be changed once the homeserver has started.
      '';
    };
  };

  config = lib.mkIf cfg.enable {
    assertions = [
      {
        assertion = cfg.conduit.enable || cfg.settings.matrix ? homeserver;
        message = ''
          services.natsMatrix: the homeserver does not run here (conduit.enable = false), so set its address:
          services.natsMatrix.matrix.homeserver = "https://matrix.example.com";
        '';
      }
    ];
  };
}

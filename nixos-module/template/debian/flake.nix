{
  description = "A Debian server that brings reports and alerts from NATS to our phones";

  inputs = {
    nats-matrix.url = "github:nats-matrix/nats-matrix";
    # system-manager keeps its own nixpkgs, with which it is tested: it uses modules of NixOS from there, and those of
    # another nixpkgs, such as that of nats-matrix, may not fit.
    system-manager.url = "github:numtide/system-manager";
  };

  outputs =
    { nats-matrix, system-manager, ... }:
    {
      # nix run --inputs-from . system-manager -- switch --flake . --sudo
      systemConfigs.default = system-manager.lib.makeSystemConfig {
        modules = [
          nats-matrix.nixosModules.default
          ./host.nix
          {
            nixpkgs.hostPlatform = "x86_64-linux"; # or "aarch64-linux"

            # The accounts and setuid programs of the server stay Debian's. By default root's shell would become one of
            # Nix, and a second, setuid mount would be added; nats-matrix needs neither.
            services.userborn.enable = false;
            security.enableWrappers = false;
          }
        ];
      };
    };
}

{
  description = "A server that brings reports and alerts from NATS to our phones";

  inputs = {
    nats-matrix.url = "github:nats-matrix/nats-matrix";
    nixpkgs.follows = "nats-matrix/nixpkgs";
  };

  outputs =
    { nixpkgs, nats-matrix, ... }:
    {
      # sudo nixos-rebuild switch --flake .#server
      nixosConfigurations.server = nixpkgs.lib.nixosSystem {
        modules = [
          nats-matrix.nixosModules.default
          ./host.nix
          # Your server's configuration from /etc/nixos: its boot loader, its users and your access to it. It imports
          # hardware-configuration.nix.
          ./configuration.nix
        ];
      };
    };
}

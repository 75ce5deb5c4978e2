{
  description = "Reports and alerts from NATS JetStream into Matrix rooms, from one small self-hosted server";

  inputs = {
    nixpkgs.url = "github:NixOS/nixpkgs/nixos-26.05";
    crane.url = "github:ipetkov/crane";
  };

  outputs =
    {
      self,
      nixpkgs,
      crane,
    }:
    let
      inherit (nixpkgs) lib;
      forEachSystem =
        f:
        lib.genAttrs [ "x86_64-linux" "aarch64-linux" ] (
          system:
          let
            pkgs = nixpkgs.legacyPackages.${system};
          in
          f {
            inherit pkgs;
            rust = import ./bridge/package.nix {
              inherit pkgs;
              craneLib = crane.mkLib pkgs;
            };
          }
        );
      debian = import ./nixos-module/debian {
        inherit lib;
        inherit (lib) nixosSystem;
        module = ./nixos-module;
      };
    in
    {
      packages = forEachSystem (
        { pkgs, rust }:
        {
          default = rust.bridge;
          inherit (rust) bridge;
          bridge-static =
            (import ./bridge/package.nix {
              pkgs = pkgs.pkgsStatic;
              craneLib = crane.mkLib pkgs.pkgsStatic;
            }).bridge;
          options-doc = import ./nixos-module/options-doc.nix {
            inherit pkgs nixpkgs;
            module = ./nixos-module;
          };
          debian-units = debian.package pkgs ./nixos-module/debian/host.nix;
        }
      );

      apps = forEachSystem (
        { pkgs, rust }:
        {
          default = self.apps.${pkgs.stdenv.hostPlatform.system}.bridge;
          bridge = {
            type = "app";
            program = lib.getExe rust.bridge;
            meta.description = "The bridge: nix run .#bridge -- run --config FILE";
          };
          demo = {
            type = "app";
            program = lib.getExe rust.demo;
            meta.description = "NATS, a homeserver and the bridge on loopback, to look at";
          };
        }
      );

      checks = forEachSystem (
        { pkgs, rust }:
        rust.checks
        // import ./nixos-tests {
          inherit pkgs nixpkgs;
          inherit (rust) bridge;
          inherit debian;
          module = self.nixosModules.default;
        }
        // {
          options-doc = self.packages.${pkgs.stdenv.hostPlatform.system}.options-doc;
          nix-files =
            pkgs.runCommand "nix-files"
              {
                nativeBuildInputs = [
                  pkgs.nixfmt
                  pkgs.deadnix
                ];
              }
              ''
                cd ${lib.sources.sourceFilesBySuffices ./. [ ".nix" ]}
                find . -name '*.nix' -exec nixfmt --check {} +
                deadnix --fail .
                touch $out
              '';
        }
      );

      nixosModules.default =
        { lib, pkgs, ... }:
        {
          imports = [ ./nixos-module ];
          services.natsMatrix.package = lib.mkDefault self.packages.${pkgs.stdenv.hostPlatform.system}.bridge;
        };

      overlays.default = final: _: {
        nats-matrix =
          (import ./bridge/package.nix {
            pkgs = final;
            craneLib = crane.mkLib final;
          }).bridge;
      };

      devShells = forEachSystem ({ rust, ... }: { default = rust.devShell; });

      formatter = forEachSystem (
        { pkgs, ... }:
        pkgs.writeShellScriptBin "format" ''
          [ "$#" -gt 0 ] || mapfile -t files < <(git ls-files '*.nix')
          exec ${lib.getExe pkgs.nixfmt} "$@" "''${files[@]}"
        ''
      );

      templates =
        let
          welcomeText = ''
            Say in `host.nix` what your server's name is, where your NATS is and what goes where. The few steps around it are on
            https://github.com/nats-matrix/nats-matrix/blob/main/docs/src/install/nixos.md
          '';
        in
        {
          default = {
            path = ./nixos-module/template/nixos;
            description = "A NixOS host with nats-matrix";
            inherit welcomeText;
          };
          debian = {
            path = ./nixos-module/template/debian;
            description = "A Debian host with nats-matrix, by system-manager";
            inherit welcomeText;
          };
        };

      # Module arguments to { units = { "nats-matrix.service" = text; ... }; etc = { "nats-matrix/config.toml" = file; ... }; }
      lib.debianUnits = debian.render;

      # To look at what the module makes of a host.
      nixosConfigurations.example = lib.nixosSystem {
        system = "x86_64-linux";
        modules = [
          self.nixosModules.default
          ./nixos-tests/example-host.nix
          {
            # The rest of a machine, as little as evaluates.
            fileSystems."/" = {
              device = "/dev/sda1";
              fsType = "ext4";
            };
            boot.loader.grub.device = "nodev";
            system.stateVersion = "26.05";
          }
        ];
      };
    };
}

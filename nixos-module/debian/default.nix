# The module's units for a Debian system without Nix: those that NixOS would install, with Debian's paths.
{
  lib,
  nixosSystem,
  module,
}:
let
  # A stand-in package whose programs are where a .deb installs them.
  program = path: {
    type = "derivation";
    name = baseNameOf path;
    outPath = dirOf (dirOf path);
    meta.mainProgram = baseNameOf path;
  };

  debian =
    { config, ... }:
    let
      cfg = config.services.natsMatrix;
      services = [
        "nats-matrix"
      ]
      ++ lib.optional cfg.conduit.enable "nats-matrix-conduit"
      ++ lib.optional cfg.tunnel.enable "nats-matrix-tunnel";
    in
    {
      services.natsMatrix = {
        package = lib.mkForce (program "/usr/bin/nats-matrix");
        conduit.package = lib.mkForce (program "/usr/bin/conduit");
        tunnel.package = lib.mkForce (program "/usr/bin/cloudflared");
        reporter.systemctl = "/usr/bin/systemctl";
      };
      # LOCALE_ARCHIVE and TZDIR are specific to NixOS.
      systemd.globalEnvironment = lib.mkForce { };
      # On Debian, dpkg decides whether a changed file restarts a service.
      systemd.services =
        lib.genAttrs services (_: {
          restartTriggers = lib.mkForce [ ];
        })
        // {
          nats-matrix-check.restartIfChanged = lib.mkForce true;
        }
        // lib.optionalAttrs cfg.reporter.enable {
          nats-matrix-report.restartIfChanged = lib.mkForce true;
          "nats-matrix-alert@".restartIfChanged = lib.mkForce true;
        }
        // lib.optionalAttrs cfg.provision.enable {
          nats-matrix-provision = {
            restartTriggers = lib.mkForce [ ];
            stopIfChanged = lib.mkForce true;
          };
        };
      nixpkgs.hostPlatform = lib.mkDefault "x86_64-linux";
      system.stateVersion = lib.mkDefault "26.05";
    };

in
rec {
  # Selects the units of the module among all units of a system.
  ours = lib.filterAttrs (name: _: lib.hasPrefix "nats-matrix" name || name == "natsmatrix.slice");

  # `host` is a module, for example { services.natsMatrix = { ... }; }.
  render =
    host:
    let
      inherit
        (nixosSystem {
          system = null;
          modules = [
            module
            debian
            host
          ];
        })
        config
        ;
      failed = map (assertion: assertion.message) (
        lib.filter (assertion: !assertion.assertion) config.assertions
      );
    in
    lib.throwIf (lib.any (lib.hasInfix "natsMatrix") failed) (lib.concatStringsSep "\n" failed) {
      units = lib.mapAttrs (_: unit: unit.text) (ours config.systemd.units);
      conduit = config.services.natsMatrix.conduit.settings;
      etc = lib.mapAttrs (_: file: file.source) (
        lib.filterAttrs (name: _: lib.hasPrefix "nats-matrix/" name) config.environment.etc
      );
    };

  package =
    pkgs: host:
    let
      rendered = render host;
    in
    pkgs.runCommand "nats-matrix-debian-units" { } (
      "mkdir $out\n"
      + lib.concatStrings (
        lib.mapAttrsToList (name: text: "cp ${pkgs.writeText name text} $out/${name}\n") rendered.units
      )
    );
}

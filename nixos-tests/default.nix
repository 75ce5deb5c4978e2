# The checks of the module: scenarios in virtual machines, units compared with golden copies, and mistakes that the
# module refuses.
{
  pkgs,
  nixpkgs,
  module,
  bridge,
  debian,
}:
let
  inherit (pkgs) lib;
  nodes = import ./nodes.nix { inherit module; };

  # The configuration of example-host.nix with one more module.
  exampleHost =
    more:
    (nixpkgs.lib.nixosSystem {
      modules = [
        module
        ./example-host.nix
        more
        { nixpkgs.hostPlatform = pkgs.stdenv.hostPlatform.system; }
      ];
    }).config;

  # A scenario is a script that also runs on Debian (`NAME.py`), with the machines that it needs on NixOS (`NAME.nix`).
  runTest =
    name:
    let
      scenario = import (./. + "/${name}.nix") { inherit lib nodes pkgs; };
      script = lib.replaceStrings [ "-" ] [ "_" ] name;
    in
    pkgs.testers.runNixOSTest {
      name = "nats-matrix-${name}";
      globalTimeout = 30 * 60;
      inherit (scenario) nodes;
      testScript = lib.concatStringsSep "\n" [
        (lib.readFile ./lib.py)
        (lib.concatLines (
          lib.mapAttrsToList (constant: value: "${constant} = ${builtins.toJSON value}") scenario.constants
        ))
        (lib.readFile (./. + "/${script}.py"))
      ];
    };
in
lib.genAttrs [
  "report-arrives"
  "provision"
  "publishers"
  "nothing-lost"
  "memory-limits"
  "long-run"
  "closed-doors"
  "secrets-stay-secret"
  "tls-nkey"
] runTest
// {
  units = import ./units.nix { inherit pkgs exampleHost debian; };
  configuration = import ./configuration.nix { inherit pkgs exampleHost bridge; };
  refusals = import ./refusals.nix { inherit pkgs exampleHost bridge; };
}

# What the module makes of example-host.nix, printed and compared with golden/: on NixOS and for Debian, where it must be
# the same but for the paths of the programs.
{
  pkgs,
  nixpkgs,
  module,
  debianUnits,
}:
let
  inherit (pkgs) lib;
  golden = ./golden;
  packaged = ../nixos-module/debian;

  host = ./example-host.nix;
  isOurs = name: lib.hasPrefix "nats-matrix" name || name == "natsmatrix.slice";
  nixos =
    (nixpkgs.lib.nixosSystem {
      modules = [
        module
        host
        { nixpkgs.hostPlatform = pkgs.stdenv.hostPlatform.system; }
      ];
    }).config.systemd.units;
  debian = import ../nixos-module/debian.nix {
    inherit lib;
    inherit (nixpkgs.lib) nixosSystem;
    module = ../nixos-module;
  };

  # Store paths become /usr, and what only NixOS writes into a unit goes.
  onlyNixos = [
    "X-Restart-Triggers="
    "Environment=\"LOCALE_ARCHIVE="
    "Environment=\"TZDIR="
  ];
  portable =
    text:
    let
      usual = lib.concatMapStrings (part: if lib.isList part then "/usr" else part) (
        builtins.split "/nix/store/[^/ \n]+" text
      );
      kept = lib.filter (line: !lib.any (prefix: lib.hasPrefix prefix line) onlyNixos) (
        lib.splitString "\n" usual
      );
    in
    lib.concatStringsSep "\n" kept;

  folder =
    name: units:
    pkgs.linkFarm name (
      lib.mapAttrsToList (file: text: {
        name = file;
        path = pkgs.writeText file text;
      }) units
    );
  onNixos = folder "units-nixos" (
    lib.mapAttrs (_: unit: portable unit.text) (lib.filterAttrs (name: _: isOurs name) nixos)
  );
  onDebian = folder "units-debian" (debian.render host).units;
in
pkgs.runCommand "units" { } ''
  tail -n +1 ${onNixos}/*
  compare() { diff -ru "$2" "$1" || { echo "$2 is stale: see nixos-tests/README.md"; exit 1; }; }
  compare ${onNixos} ${golden}
  compare ${onDebian} ${golden}
  compare ${debianUnits} ${packaged}
  touch $out
''

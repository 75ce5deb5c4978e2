# The units that the module makes of example-host.nix, printed and compared with golden/. On NixOS and for Debian they
# must be the same except for the paths of the programs.
{
  pkgs,
  exampleHost,
  debian,
}:
let
  inherit (pkgs) lib;
  golden = ./golden;
  packaged = ../nixos-module/debian;
  host = packaged + "/host.nix";
  # This file is written by hand because of its comments.
  conduit = lib.importTOML (packaged + "/etc/conduit.toml");

  # Replaces store paths with /usr and removes the lines that only NixOS writes into a unit.
  onlyNixos = [
    "X-Restart-Triggers="
    "X-RestartIfChanged="
    "X-StopIfChanged="
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
  # Only the names of the store paths matter here, so the programs need not be built.
  rendered = lib.mapAttrs (_: unit: builtins.unsafeDiscardStringContext unit.text) (
    debian.ours (exampleHost { }).systemd.units
  );
  onNixos = folder "units-nixos" (lib.mapAttrs (_: portable) rendered);
  onDebian = folder "units-debian" (debian.render ./example-host.nix).units;
in
assert lib.assertMsg (
  conduit == (debian.render host).conduit
) "nixos-module/debian/etc/conduit.toml says something else than the module";
pkgs.runCommand "units" { nativeBuildInputs = [ pkgs.python3 ]; } ''
  tail -n +1 ${onNixos}/*
  python3 ${./check-shell-lines} /nix/store ${folder "units-rendered" rendered}/*
  for unit in ${./refused-units}/*.service; do
    ! python3 ${./check-shell-lines} /nix/store $unit || { echo "check-shell-lines does not refuse $unit"; exit 1; }
  done
  python3 ${./check-credentials} ${golden}/* ${packaged + "/units"}/*
  for unit in ${./refused-credentials}/*.service; do
    ! python3 ${./check-credentials} $unit || { echo "check-credentials does not refuse $unit"; exit 1; }
  done
  python3 ${./run-failed-units} ${golden} ${packaged + "/units"}
  compare() { diff -ru "$2" "$1" || { echo "$2 is stale: see nixos-tests/README.md"; exit 1; }; }
  compare ${onNixos} ${golden}
  compare ${onDebian} ${golden}
  compare ${debian.package pkgs host} ${packaged + "/units"}
  touch $out
''

# The files that example-host.nix becomes, as they are checked when a system is built: by the bridge, and by cloudflared.
{ pkgs, exampleHost }:
let
  inherit (pkgs) lib;
  ours =
    lib.filterAttrs (name: _: lib.hasPrefix "nats-matrix/" name)
      (exampleHost { }).environment.etc;
in
pkgs.runCommand "configuration" { } ''
  tail -n +1 ${lib.concatMapStringsSep " " (file: file.source) (lib.attrValues ours)} | tee $out
''

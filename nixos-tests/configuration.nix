# Checks the files that example-host.nix becomes, as when a system is built, with the bridge and with cloudflared; and
# the files of the Debian package, which are written by hand.
{
  pkgs,
  exampleHost,
  bridge,
}:
let
  inherit (pkgs) lib;
  ours =
    lib.filterAttrs (name: _: lib.hasPrefix "nats-matrix/" name)
      (exampleHost { }).environment.etc;
in
pkgs.runCommand "configuration" { } ''
  tail -n +1 ${lib.concatMapStringsSep " " (file: file.source) (lib.attrValues ours)} | tee $out
  ${lib.getExe bridge} check --offline --config ${../nixos-module/debian/etc/config.toml}
  ${lib.getExe pkgs.cloudflared} tunnel --config ${../nixos-module/debian/etc/tunnel.yml} ingress validate
''

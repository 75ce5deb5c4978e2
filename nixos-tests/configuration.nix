# The files that example-host.nix becomes, as they are checked when a system is built: by the bridge, and by cloudflared.
{
  pkgs,
  nixpkgs,
  module,
}:
let
  inherit (pkgs) lib;
  inherit
    (nixpkgs.lib.nixosSystem {
      modules = [
        module
        ./example-host.nix
        { nixpkgs.hostPlatform = pkgs.stdenv.hostPlatform.system; }
      ];
    })
    config
    ;
  ours = lib.filterAttrs (name: _: lib.hasPrefix "nats-matrix/" name) config.environment.etc;
in
pkgs.runCommand "configuration" { } ''
  tail -n +1 ${lib.concatMapStringsSep " " (file: file.source) (lib.attrValues ours)} | tee $out
''

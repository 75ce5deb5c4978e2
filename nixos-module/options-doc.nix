# The options of services.natsMatrix as CommonMark, made from their descriptions.
{
  pkgs,
  nixpkgs,
  module,
}:
let
  inherit (pkgs) lib;
  options =
    (lib.evalModules {
      modules = [
        module
        {
          _module = {
            args = { inherit pkgs; };
            # The options of NixOS that the module sets are not documented here.
            check = false;
          };
        }
      ];
    }).options;
  doc = import "${nixpkgs}/nixos/lib/make-options-doc" {
    inherit pkgs lib;
    options = { inherit (options) services; };
    # An option without a description fails the build.
    warningsAreErrors = true;
    transformOptions = option: option // { declarations = [ ]; };
  };
in
doc.optionsCommonMark

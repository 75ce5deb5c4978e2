# The options of services.natsMatrix as CommonMark, from their own descriptions.
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
            # What the module sets besides its own options is not documented here.
            check = false;
          };
        }
      ];
    }).options;
  doc = import "${nixpkgs}/nixos/lib/make-options-doc" {
    inherit pkgs lib;
    options = { inherit (options) services; };
    # An option without a description is a mistake.
    warningsAreErrors = true;
    transformOptions = option: option // { declarations = [ ]; };
  };
in
doc.optionsCommonMark

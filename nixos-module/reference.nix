# The options of services.natsMatrix as data, from which the book's page on them is made:
#
#     nix-instantiate --eval --strict --json nixos-module/reference.nix
#
# It has the few functions of nixpkgs' lib that options need, so that a machine without nixpkgs can make the page, too.
# options-doc.nix renders the same options with nixpkgs itself.
let
  quoted = value: if builtins.isString value then "`\"${value}\"`" else "`${toString value}`";

  # A type is only its name, and for a submodule also its options.
  named = description: { inherit description; };
  listOf = of: named "list of ${of.description}";
  types = {
    str = named "text";
    bool = named "boolean";
    path = named "path";
    port = named "port";
    int = named "number";
    package = named "package";
    enum = values: named (builtins.concatStringsSep ", " (map quoted values));
    either = one: other: named "${one.description}, ${other.description}";
    strMatching = _: named "text";
    coercedTo =
      from: _: to:
      named "${from.description} or ${to.description}";
    nullOr = of: of;
    inherit listOf;
    nonEmptyListOf = listOf;
    attrsOf = of: {
      description = "attributes of ${of.description}";
      options = if of ? options then { "<name>" = of.options; } else { };
    };
    submodule = module: {
      description = if module ? freeformType then module.freeformType.description else "attributes";
      options = module.options or { };
    };
    ints = {
      u32 = named "number";
      unsigned = named "number";
      between = low: high: named "number, ${toString low} to ${toString high}";
    };
  };

  mkOption = option: option // { isOption = true; };
  literal = text: { literal = text; };
  lib = {
    inherit (builtins) attrNames;
    inherit types mkOption;
    literalExpression = text: literal "`${text}`";
    literalMD = literal;
    mkEnableOption =
      what:
      mkOption {
        type = types.bool;
        default = false;
        example = true;
        description = "Whether to enable ${what}.";
      };
    mkPackageOption =
      _: name: _:
      mkOption {
        type = types.package;
        defaultText = literal "`pkgs.${name}`";
        description = "The package of ${name}.";
      };
    # Only values of the module use these, and no option does.
    filterAttrs = null;
    mapAttrsToList = _: _: [ ];
  };

  valueOf = option: key: if option ? "${key}Text" then option."${key}Text" else option.${key};

  entry =
    path: option:
    {
      name = builtins.concatStringsSep "." path;
      type = option.type.description;
      inherit (option) description;
    }
    // (
      if option ? default || option ? defaultText then { default = valueOf option "default"; } else { }
    )
    // (if option ? example then { inherit (option) example; } else { });

  collect =
    path: value:
    if value.isOption or false then
      if value.internal or false then
        [ ]
      else
        [ (entry path value) ] ++ collect path (value.type.options or { })
    else
      builtins.concatMap (name: collect (path ++ [ name ]) value.${name}) (builtins.attrNames value);

  toml = _: { type = named "TOML"; };
  arguments = {
    inherit lib;
    options = { };
    # An option whose default depends on these has a `defaultText`.
    config.services.natsMatrix = throw "a default needs a defaultText";
    pkgs.formats = {
      inherit toml;
      yaml = toml;
    };
  };
  modules =
    file:
    let
      module = import file arguments;
    in
    [ module ] ++ builtins.concatMap modules (module.imports or [ ]);
in
builtins.concatMap (module: collect [ ] (module.options.services.natsMatrix or { })) (
  modules ./default.nix
)

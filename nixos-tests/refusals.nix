# Mistakes that are refused before anything is installed: by assertions when the module is evaluated, and by the
# bridge's own check of the configuration when it is built.
{
  pkgs,
  exampleHost,
  bridge,
}:
let
  inherit (pkgs) lib;
  configOf = mistake: exampleHost { services.natsMatrix = mistake; };

  # { the mistake, a text that an assertion's message must contain }
  asserted = [
    {
      mistake.matrix.passwordFile = lib.mkForce "${builtins.storeDir}/00000000000000000000000000000000-password";
      says = "services.natsMatrix.matrix.passwordFile is ${builtins.storeDir}/";
    }
    {
      mistake.nats.nkeySeedFile = lib.mkForce ./example-host.nix;
      says = "services.natsMatrix.nats.nkeySeedFile is";
    }
    {
      mistake.users.bob.passwordFile = lib.mkForce "${builtins.storeDir}/00000000000000000000000000000000-bob";
      says = "services.natsMatrix.users.bob.passwordFile is ${builtins.storeDir}/";
    }
    {
      mistake.settings.users.bob.password = "hunter2";
      says = "settings.users.bob.password would be written to the Nix store";
    }
    {
      mistake.users."../bob" = { };
      says = "services.natsMatrix.users.\"../bob\"";
    }
    {
      mistake.provision.registrationSecretFile = "/run/secrets/registration";
      says = "for a Synapse elsewhere";
    }
    {
      mistake.conduit.enable = false;
      says = "services.natsMatrix.users: the homeserver does not run here";
    }
    {
      mistake.settings.nats.password = "hunter2";
      says = "settings.nats.password would be written to the Nix store";
    }
    {
      mistake.conduit.settings.global.registration_token = "hunter2";
      says = "settings.global.registration_token would be written to the Nix store";
    }
    {
      mistake.tunnel.tokenFile = "/run/secrets/token";
      says = "exactly one of credentialsFile";
    }
    {
      mistake.conduit.restartAbove = "150M";
      says = "conduit.restartAbove (150M) has to be less than";
    }
    {
      mistake.memory.max = "200M";
      says = "the parts (bridge 100M + conduit 200M + tunnel 100M = 400M) exceed the whole (max = 200M)";
    }
    {
      mistake.memory.conduit.high = "250M";
      says = "memory.conduit: high (250M) exceeds max (200M)";
    }
    {
      mistake.nats.servers = lib.mkForce [ ];
      says = "nats.servers is empty";
    }
    {
      mistake.routes = lib.mkForce { };
      says = "routes is empty";
    }
    {
      mistake.conduit.enable = false;
      says = "conduit.enable = false";
    }
  ];
  unsaid = lib.filter (
    { mistake, says }:
    !lib.any (assertion: !assertion.assertion && lib.hasInfix says assertion.message)
      (configOf mistake).assertions
  ) asserted;

  warned = (configOf { memory.max = "1500M"; }).warnings;

  # { the mistake in a key of the bridge, a text that its check must print }
  built = [
    {
      mistake.settings.nats.server = "nats://nats.example.com";
      says = "servers";
    }
    {
      mistake.routes.reports.subjects = lib.mkForce [ "ops..report" ];
      says = "ops..report";
    }
  ];
  tomlOf =
    mistake:
    (pkgs.formats.toml { }).generate "wrong.toml" (configOf mistake).services.natsMatrix.settings;
in
assert lib.assertMsg (unsaid == [ ])
  "not refused: ${lib.concatMapStringsSep ", " (case: case.says) unsaid}";
assert lib.assertMsg (lib.any (lib.hasInfix "1500M") warned) "no warning about memory.max = 1500M";
pkgs.runCommand "refusals" { } (
  lib.concatMapStrings (
    { mistake, says }:
    ''
      status=0
      ${lib.getExe bridge} check --offline --config ${tomlOf mistake} >said 2>&1 || status=$?
      cat said
      [ "$status" = 64 ]
      grep -F ${lib.escapeShellArg says} said
    ''
  ) built
  + "touch $out"
)

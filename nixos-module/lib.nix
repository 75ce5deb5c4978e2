# The functions and values that the files of this module share.
{ lib }:
rec {
  # An option for the path of a secret. A secret is never written to the Nix store, which everybody can read: the path
  # is outside it, and systemd passes the file as a credential.
  mkSecretFile =
    { what, example }:
    lib.mkOption {
      type = lib.types.nullOr lib.types.path;
      default = null;
      inherit example;
      description = "A file outside the Nix store that holds ${what}. Only root has to be able to read it.";
    };

  fileOption =
    what: example:
    lib.mkOption {
      type = lib.types.nullOr lib.types.path;
      default = null;
      inherit example;
      description = what;
    };

  # A file that the program reads as a systemd credential: its option, and the configuration key that takes the name of
  # the credential.
  credential = section: option: key: {
    option = "${section}.${option}";
    key = [
      section
      key
    ];
    secret = false;
  };
  secretCredential =
    section: option: key:
    credential section option key // { secret = true; };

  # The files that the bridge and the publishers need for NATS.
  natsFiles = {
    nats-ca = credential "nats" "caFile" "ca_file";
    nats-cert = credential "nats" "certFile" "cert_file";
    nats-key = secretCredential "nats" "keyFile" "key_file";
    nats-nkey-seed = secretCredential "nats" "nkeySeedFile" "nkey_seed_file";
    nats-credentials = secretCredential "nats" "credentialsFile" "credentials_file";
    nats-password = secretCredential "nats" "passwordFile" "password_file";
    nats-token = secretCredential "nats" "tokenFile" "token_file";
  };

  # Functions on such files, with their values in `cfg`: the attributes { name = path or null; }, the configuration
  # keys, and the paths that must not be in the store.
  credentialPaths =
    cfg: lib.mapAttrs (_: file: lib.getAttrFromPath (lib.splitString "." file.option) cfg);
  credentialNames =
    cfg: files:
    lib.mkMerge (
      lib.mapAttrsToList (name: _: lib.setAttrByPath files.${name}.key (lib.mkDefault name)) (
        dropNull (credentialPaths cfg files)
      )
    );
  secretPaths =
    cfg: files:
    lib.mapAttrs' (name: path: lib.nameValuePair "services.natsMatrix.${files.${name}.option}" path) (
      credentialPaths cfg (lib.filterAttrs (_: file: file.secret) files)
    );

  dropNull = lib.filterAttrs (_: value: value != null);

  # secrets: { "services.natsMatrix.x.yFile" = path or null; }
  assertOutsideStore = lib.mapAttrsToList (
    option: path: {
      # A path of the Nix language is copied to the store as soon as it becomes part of a unit.
      assertion = path == null || !builtins.isPath path && !lib.hasPrefix builtins.storeDir path;
      message = ''
        ${option} is ${toString path}, which is or would be copied to the Nix store, where everybody can read it. Keep
        the file elsewhere, readable by root only, and give its name as a string: ${option} = "/run/secrets/...";
      '';
    }
  );

  # Refuses secrets in freeform settings, because all of these are written to the store.
  assertNoSecret =
    option: secrets: settings: instead:
    map (key: {
      assertion = !settings ? ${key};
      message = "${option}.${key} would be written to the Nix store, where everybody can read it: use ${instead}.";
    }) secrets;

  # systemd's LoadCredential= of { name = path or null; }
  loadCredentials =
    files: lib.mapAttrsToList (name: path: "${name}:${path}") (lib.filterAttrs (_: p: p != null) files);

  # Returns the file after a command has accepted it, so that a mistake fails the build of the system and not the
  # service at night. A machine that only builds for another platform cannot run the command.
  acceptedBy =
    pkgs: name: command: file:
    pkgs.runCommand name { } ''
      ${lib.optionalString (pkgs.stdenv.buildPlatform.canExecute pkgs.stdenv.hostPlatform) (command file)}
      cp ${file} $out
    '';

  # A memory size as systemd writes it. Whole MiB are enough here, and can be added.
  size = lib.types.strMatching "[0-9]+[MG]" // {
    description = "size such as 150M or 1G (binary units, as in systemd)";
  };
  mebibytes =
    text:
    let
      number = lib.toInt (lib.substring 0 (lib.stringLength text - 1) text);
    in
    if lib.hasSuffix "G" text then number * 1024 else number;

  # The limits of a service, with the memory that memory.nix gives it.
  memoryLimits = part: {
    Slice = "natsmatrix.slice";
    MemoryHigh = part.high;
    MemoryMax = part.max;
    # If one process is killed, all of the service is: half of it would neither work nor be restarted.
    OOMPolicy = "kill";
    # When the whole server runs out of memory, other services are killed first: somebody has to deliver the alert about
    # it. The memory of these services is limited anyway.
    OOMScoreAdjust = -500;
  };

  # A service that must restart whatever happens: at three in the morning nobody resets a start limit.
  alwaysBack = {
    unitConfig.StartLimitIntervalSec = 0;
    serviceConfig = {
      Restart = "always";
      RestartSec = 5;
    };
  };

  # The sandbox: everything that no service of ours needs is denied. `systemd-analyze security` still reports the
  # network, which these services need (the homeserver also calls the push gateways of the phones, so addresses cannot
  # be listed), AF_UNIX, the root directory of the host (the programs are there) and char-rtc, which ProtectClock=
  # itself allows. Nothing here is newer than systemd 252, the version of Debian 12, which would ignore unknown
  # directives.
  sandbox = {
    DynamicUser = true;
    UMask = "0077";
    CapabilityBoundingSet = "";
    AmbientCapabilities = "";
    DevicePolicy = "closed";
    KeyringMode = "private";
    LockPersonality = true;
    MemoryDenyWriteExecute = true;
    NoNewPrivileges = true;
    PrivateDevices = true;
    PrivateIPC = true;
    PrivateMounts = true;
    PrivateTmp = true;
    PrivateUsers = true;
    ProcSubset = "pid";
    ProtectClock = true;
    ProtectControlGroups = true;
    ProtectHome = true;
    ProtectHostname = true;
    ProtectKernelLogs = true;
    ProtectKernelModules = true;
    ProtectKernelTunables = true;
    ProtectProc = "invisible";
    ProtectSystem = "strict";
    RemoveIPC = true;
    # AF_UNIX for sd_notify and the journal; AF_INET and AF_INET6 because these services use the network.
    RestrictAddressFamilies = [
      "AF_UNIX"
      "AF_INET"
      "AF_INET6"
    ];
    RestrictNamespaces = true;
    RestrictRealtime = true;
    RestrictSUIDSGID = true;
    SystemCallArchitectures = "native";
    SystemCallErrorNumber = "EPERM";
    SystemCallFilter = [
      "@system-service"
      "~@privileged @resources"
    ];
  };
}

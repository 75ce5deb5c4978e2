# What the files of this module share.
{ lib }:
rec {
  # A secret is never written to the Nix store, which everybody can read: options take a path outside it, and systemd
  # hands the file over as a credential.
  mkSecretFile =
    { what, example }:
    lib.mkOption {
      type = lib.types.nullOr lib.types.path;
      default = null;
      inherit example;
      description = ''
        A file that holds ${what}. Read by systemd as root and handed to the service alone, so the file may be
        readable by root only. A string, not a Nix path: what is in the store can be read by everybody.
      '';
    };

  fileOption =
    what: example:
    lib.mkOption {
      type = lib.types.nullOr lib.types.path;
      default = null;
      inherit example;
      description = what;
    };

  # A file that the program reads by the name of a systemd credential: where the option is, and the key that names the
  # credential in the configuration.
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

  # What the bridge and the publishers need for NATS.
  natsFiles = {
    nats-ca = credential "nats" "caFile" "ca_file";
    nats-cert = credential "nats" "certFile" "cert_file";
    nats-key = secretCredential "nats" "keyFile" "key_file";
    nats-nkey-seed = secretCredential "nats" "nkeySeedFile" "nkey_seed_file";
    nats-credentials = secretCredential "nats" "credentialsFile" "credentials_file";
    nats-password = secretCredential "nats" "passwordFile" "password_file";
    nats-token = secretCredential "nats" "tokenFile" "token_file";
  };

  # Of such files, in `cfg`: { name = path or null; }, the keys of the configuration, and what must not be in the store.
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

  # Keys of freeform settings that hold a secret: whatever is there is written to the store.
  assertNoSecret =
    option: secrets: settings: instead:
    map (key: {
      assertion = !settings ? ${key};
      message = "${option}.${key} would be written to the Nix store, where everybody can read it: use ${instead}.";
    }) secrets;

  # systemd's LoadCredential= of { name = path or null; }
  loadCredentials =
    files: lib.mapAttrsToList (name: path: "${name}:${path}") (lib.filterAttrs (_: p: p != null) files);

  # The file, once a command has accepted it, so that a mistake fails the build of the system and not the service at
  # night. A machine that only builds for another one cannot ask.
  acceptedBy =
    pkgs: name: command: file:
    pkgs.runCommand name { } ''
      ${lib.optionalString (pkgs.stdenv.buildPlatform.canExecute pkgs.stdenv.hostPlatform) (command file)}
      cp ${file} $out
    '';

  # A memory size as systemd writes it. Whole MiB are enough here, and can be added up.
  size = lib.types.strMatching "[0-9]+[MG]" // {
    description = "size such as 150M or 1G (binary units, as in systemd)";
  };
  mebibytes =
    text:
    let
      number = lib.toInt (lib.substring 0 (lib.stringLength text - 1) text);
    in
    if lib.hasSuffix "G" text then number * 1024 else number;

  # What a service may take of the memory that memory.nix gives it.
  memoryLimits = part: {
    Slice = "natsmatrix.slice";
    MemoryHigh = part.high;
    MemoryMax = part.max;
    # All of the service or nothing: half of it would neither work nor be restarted.
    OOMPolicy = "kill";
    # When the whole server runs out of memory, others go first: somebody has to bring the alert about it. What
    # these services can take is limited.
    OOMScoreAdjust = -500;
  };

  # A service that must come back whatever happens: at three in the morning nobody resets a start limit.
  alwaysBack = {
    unitConfig.StartLimitIntervalSec = 0;
    serviceConfig = {
      Restart = "always";
      RestartSec = 5;
    };
  };

  # What no service of ours needs. What `systemd-analyze security` still finds: the network, which these services are
  # for (the homeserver also calls the push gateways of the phones, so addresses cannot be listed), AF_UNIX, the root
  # directory of the host (the programs are there) and char-rtc, which ProtectClock= itself allows. Nothing here is newer than systemd 252, which Debian 12 has: it would ignore what it does not know.
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
    # AF_UNIX for sd_notify and the journal; the network is what these services are for.
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

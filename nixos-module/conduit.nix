# The Matrix homeserver: Conduit, or one of its two living relatives, on loopback.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  cfg = config.services.natsMatrix;
  inherit (import ./lib.nix { inherit lib; })
    alwaysBack
    assertNoSecret
    assertOutsideStore
    mebibytes
    sandbox
    ;

  format = pkgs.formats.toml { };
  configFile = "/etc/nats-matrix/conduit.toml";
  stateDirectory = "nats-matrix-conduit";
  user = "nats-matrix-conduit";
  homeserver = "http://127.0.0.1:${toString cfg.conduit.port}";

  # What differs between the implementations: the names of the package, of the variable that names the
  # configuration, and of a few keys.
  implementations = {
    conduit = {
      package = "matrix-conduit";
      program = package: lib.getExe' package "conduit";
      variable = "CONDUIT_CONFIG";
      settings = {
        database_backend = "rocksdb";
        # Whoever gets in by the tunnel can send requests without an account, and JSON takes many times its length.
        max_request_size = 4000000;
        conduit_cache_capacity_modifier = cacheModifier;
        enable_lightning_bolt = false;
        allow_check_for_updates = false;
        media = {
          backend = "filesystem";
          retention = lib.optional (cfg.conduit.mediaSpace != null) { space = cfg.conduit.mediaSpace; };
        };
      };
    };
    tuwunel = {
      package = "matrix-tuwunel";
      program = lib.getExe;
      variable = "TUWUNEL_CONFIG";
      settings = {
        cache_capacity_modifier = cacheModifier;
        new_user_displayname_suffix = "";
        allow_guest_registration = false;
      };
    };
    continuwuity = {
      package = "matrix-continuwuity";
      program = lib.getExe;
      variable = "CONTINUWUITY_CONFIG";
      settings = {
        cache_capacity_modifier = cacheModifier;
        new_user_displayname_suffix = "";
        allow_announcements_check = false;
      };
    };
  };
  chosen = implementations.${cfg.conduit.implementation};
  program = chosen.program cfg.conduit.package;

  # What whoever opens the database needs: the homeserver, and provisioning, which runs one of its own.
  database = {
    # Each arena of glibc's allocator keeps freed memory to itself; with many threads that is tens of MB.
    environment.MALLOC_ARENA_MAX = "2";
    serviceConfig = {
      User = user;
      StateDirectory = [ stateDirectory ];
      StateDirectoryMode = "0700";
      LimitNOFILE = 65536; # RocksDB keeps its files open
      TimeoutStopSec = "2min"; # it flushes the database
    }
    // lib.optionalAttrs (cfg.conduit.environmentFile != null) {
      EnvironmentFile = cfg.conduit.environmentFile;
    };
  };

  # The caches that were measured with 150 MB (16 MB of database cache, a tenth of the other caches) for each budget.
  budget = mebibytes cfg.memory.conduit.high;
  databaseCache = budget / 150.0 * 16.0;
  cacheModifier = budget / 150.0 * 0.1;
in
{
  options.services.natsMatrix.conduit = {
    enable = lib.mkEnableOption "a Matrix homeserver on this machine" // {
      default = true;
      example = false;
    };

    implementation = lib.mkOption {
      type = lib.types.enum (lib.attrNames implementations);
      default = "conduit";
      example = "tuwunel";
      description = ''
        Which homeserver: Conduit, or one of the forks of its former fork conduwuit. Their databases differ; read the
        documentation of the new one before you change this on a server in use.
      '';
    };

    package = lib.mkOption {
      type = lib.types.package;
      default = pkgs.${chosen.package};
      defaultText = lib.literalExpression "pkgs.matrix-conduit, pkgs.matrix-tuwunel or pkgs.matrix-continuwuity";
      example = lib.literalExpression "inputs.conduit.packages.x86_64-linux.default";
      description = "The homeserver's package.";
    };

    port = lib.mkOption {
      type = lib.types.port;
      default = 6167;
      example = 8008;
      description = "The port on 127.0.0.1 on which the homeserver listens.";
    };

    mediaSpace = lib.mkOption {
      type = lib.types.nullOr lib.types.str;
      default = "2GB";
      example = "500MB";
      description = ''
        How much disk the files in rooms may take. When it is full, those that nobody has looked at for longest are deleted.
        `null` for no limit. The limit is Conduit's alone: the others have no such setting, and keep every file.
      '';
    };

    settings = lib.mkOption {
      type = lib.types.submodule {
        freeformType = format.type;
        options.global = lib.mkOption {
          type = lib.types.submodule { freeformType = format.type; };
          default = { };
          description = "The `[global]` table.";
        };
      };
      default = { };
      example = {
        global.max_request_size = 50000000;
      };
      description = ''
        The homeserver's configuration, as in its documentation
        (<https://docs.conduit.rs/configuration.html>,
        <https://matrix-construct.github.io/tuwunel/configuration.html>,
        <https://continuwuity.org/reference/config>). It listens on loopback only, registration and federation are
        off, and its caches fit into {option}`services.natsMatrix.memory.conduit`.
        For secrets use {option}`services.natsMatrix.conduit.environmentFile`.
      '';
    };

    environmentFile = lib.mkOption {
      type = lib.types.nullOr lib.types.path;
      default = null;
      example = "/run/secrets/conduit.env";
      description = ''
        A file of variables for the homeserver's secrets, such as `CONDUIT_TURN_SECRET=...`; for the others
        `TUWUNEL_...` and `CONTINUWUITY_...`.
      '';
    };
  };

  config = lib.mkIf (cfg.enable && cfg.conduit.enable) {
    assertions =
      assertOutsideStore {
        "services.natsMatrix.conduit.environmentFile" = cfg.conduit.environmentFile;
      }
      ++ assertNoSecret "services.natsMatrix.conduit.settings.global" [
        "emergency_password"
        "jwt_secret"
        "registration_token"
        "turn_password"
        "turn_secret"
      ] cfg.conduit.settings.global "services.natsMatrix.conduit.environmentFile";

    services.natsMatrix = {
      matrix.homeserver = lib.mkDefault homeserver;
      # Somebody else may take the port while it is down.
      matrix.homeserverOwner = lib.mkIf (cfg.matrix.homeserver == homeserver) (lib.mkDefault user);

      settings.provision = lib.mkIf cfg.provision.enable {
        conduit = lib.mkDefault configFile;
        conduit_program = lib.mkDefault program;
        implementation = lib.mkIf (cfg.conduit.implementation != "conduit") (
          lib.mkDefault cfg.conduit.implementation
        );
      };

      conduit.settings.global = lib.mapAttrsRecursive (_: lib.mkDefault) (
        {
          server_name = cfg.serverName;
          address = "127.0.0.1";
          port = cfg.conduit.port;
          database_path = "/var/lib/${stateDirectory}/";
          db_cache_capacity_mb = databaseCache;
          allow_registration = false;
          allow_federation = false;
          # The keys of other servers are of no use without federation.
          trusted_servers = [ ];
        }
        // lib.optionalAttrs cfg.tunnel.enable {
          # Where Element finds the client API when somebody types the server's name.
          well_known.client = "https://${cfg.tunnel.hostname}";
        }
        // chosen.settings
      );
    };

    environment.etc."nats-matrix/conduit.toml".source =
      format.generate "conduit.toml" cfg.conduit.settings;

    systemd.services.nats-matrix-conduit = lib.mkMerge [
      alwaysBack
      database
      {
        description = "Matrix homeserver of nats-matrix";
        documentation = [ "https://docs.conduit.rs/" ];
        wantedBy = [ "multi-user.target" ];
        wants = [ "network-online.target" ];
        after = [ "network-online.target" ];
        path = lib.mkForce [ ]; # it runs no programs
        restartTriggers = [ config.environment.etc."nats-matrix/conduit.toml".source ];
        environment.${chosen.variable} = configFile;
        serviceConfig = sandbox // {
          Type = "notify";
          ExecStart = program;
          # A new version may migrate the database before it is ready.
          TimeoutStartSec = "10min";
        };
      }
    ];

    systemd.services.nats-matrix-provision = lib.mkIf cfg.provision.enable database;
  };
}

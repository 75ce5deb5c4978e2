# The Matrix homeserver on loopback: Conduit, or one of the two maintained forks of its former fork.
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
    memoryLimits
    sandbox
    size
    ;

  format = pkgs.formats.toml { };
  configFile = "/etc/nats-matrix/conduit.toml";
  stateDirectory = "nats-matrix-conduit";
  user = "nats-matrix-conduit";
  homeserver = "http://127.0.0.1:${toString cfg.conduit.port}";

  # The differences between the implementations: the names of the package, of the variable for the configuration file,
  # and of a few keys.
  implementations = {
    conduit = {
      package = "matrix-conduit";
      program = package: lib.getExe' package "conduit";
      variable = "CONDUIT_CONFIG";
      settings = {
        database_backend = "rocksdb";
        # Anybody who can reach the tunnel can send requests without an account, and parsed JSON takes many times its
        # length.
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

  # The settings for every service that opens the database: the homeserver, and provisioning, which runs a Conduit of
  # its own.
  database = {
    # Each arena of glibc's allocator keeps its freed memory; with many threads that is tens of MB.
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

  # The caches, in proportion to those that were measured with a budget of 150 MB: 16 MB of database cache, and a tenth
  # of the default size for the others.
  budget = mebibytes cfg.memory.conduit.high;
  databaseCache = budget / 150.0 * 16.0;
  cacheModifier = budget / 150.0 * 0.1;

  restarts = cfg.conduit.restartAbove != null;
  refresh = "nats-matrix-conduit-refresh";
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
        The homeserver: Conduit, or one of the forks of its former fork conduwuit. Their databases differ; read the
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
        The disk space that the files in rooms may use. When it is full, the files that nobody has opened for the longest time
        are deleted. `null` for no limit. Only Conduit has this limit: the others have no such setting and keep every file.
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

    restartAbove = lib.mkOption {
      type = lib.types.nullOr size;
      default =
        if cfg.conduit.implementation == "conduit" then "${toString (budget * 4 / 15)}M" else null;
      defaultText = lib.literalMD "`40M` for Conduit, in proportion to `memory.conduit.high`; `null` for the others";
      example = "60M";
      description = ''
        The memory, without files, above which the homeserver is restarted, which takes a few seconds. Conduit writes what its
        database holds in memory to disk only when it starts: it grows by 6 to 9 MB with each 1,000 messages, and becomes slower.
        A larger value makes restarts rarer and longer. `null` for never.
      '';
    };

    environmentFile = lib.mkOption {
      type = lib.types.nullOr lib.types.path;
      default = null;
      example = "/run/secrets/conduit.env";
      description = ''
        A file of environment variables with the homeserver's secrets, such as `CONDUIT_TURN_SECRET=...`; the other
        implementations use `TUWUNEL_...` and `CONTINUWUITY_...`.
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
      ] cfg.conduit.settings.global "services.natsMatrix.conduit.environmentFile"
      ++ lib.optional restarts {
        assertion = mebibytes cfg.conduit.restartAbove < mebibytes cfg.memory.conduit.high;
        message = ''
          services.natsMatrix.conduit.restartAbove (${cfg.conduit.restartAbove}) has to be less than
          services.natsMatrix.memory.conduit.high (${cfg.memory.conduit.high}), at which the homeserver nearly stands still.
        '';
      };

    services.natsMatrix = {
      matrix.homeserver = lib.mkDefault homeserver;
      # While the homeserver is down, another program may take its port.
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
          # Without federation the keys of other servers are useless.
          trusted_servers = [ ];
        }
        // lib.optionalAttrs cfg.tunnel.enable {
          # The URL at which Element finds the client API when somebody types the server's name.
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
        wants = [ "network-online.target" ] ++ lib.optional restarts "${refresh}.service";
        after = [ "network-online.target" ];
        path = lib.mkForce [ ]; # it runs no programs
        restartTriggers = [ config.environment.etc."nats-matrix/conduit.toml".source ];
        environment.${chosen.variable} = configFile;
        serviceConfig = sandbox // {
          Type = "notify";
          ExecStart = program;
          # A new version may migrate the database before it is ready.
          TimeoutStartSec = "10min";
          # A planned restart keeps phones waiting no longer than necessary.
          RestartSec = lib.mkForce 1;
        };
      }
    ];

    systemd.services.${refresh} = lib.mkIf restarts (
      lib.mkMerge [
        alwaysBack
        {
          description = "Planned restarts of the homeserver when it holds too much memory";
          documentation = [ "https://github.com/nats-matrix/nats-matrix" ];
          after = [ "nats-matrix-conduit.service" ];
          path = lib.mkForce [ ]; # it runs no programs
          # The homeserver wants it, and it ends with the homeserver. It goes on while that restarts, since it remembers
          # whether the restart was of use.
          unitConfig.StopWhenUnneeded = true;
          serviceConfig =
            sandbox
            // memoryLimits {
              # Measured: 1 MB, and the files of the program, which the bridge runs, too.
              high = "12M";
              max = "16M";
            }
            // {
              ExecStart =
                "${lib.getExe cfg.package} refresh"
                + " --cgroup /sys/fs/cgroup/natsmatrix.slice/nats-matrix-conduit.service"
                + " --above ${toString (mebibytes cfg.conduit.restartAbove)}MiB";
              # As the homeserver's user it may send the homeserver a signal, and needs no other right.
              User = user;
              # The homeserver is in another user namespace, so its process would be invisible although it has the same user.
              ProtectProc = "default";
              PrivateNetwork = true;
              RestrictAddressFamilies = [ "AF_UNIX" ];
            };
        }
      ]
    );

    systemd.services.nats-matrix-provision = lib.mkIf cfg.provision.enable database;
  };
}

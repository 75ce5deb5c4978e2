# The bridge: its configuration, checked when the system is built, and its unit.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  cfg = config.services.natsMatrix;
  inherit (import ./lib.nix { inherit lib; })
    acceptedBy
    alwaysBack
    assertNoSecret
    assertOutsideStore
    loadCredentials
    mkSecretFile
    sandbox
    ;

  format = pkgs.formats.toml { };

  # The files that the bridge reads by the name of a systemd credential: where the option is, and the key that names
  # the credential in the configuration.
  file = section: option: key: {
    option = "${section}.${option}";
    key = [
      section
      key
    ];
    secret = false;
  };
  secret =
    section: option: key:
    file section option key // { secret = true; };
  files = {
    nats-ca = file "nats" "caFile" "ca_file";
    nats-cert = file "nats" "certFile" "cert_file";
    nats-key = secret "nats" "keyFile" "key_file";
    nats-nkey-seed = secret "nats" "nkeySeedFile" "nkey_seed_file";
    nats-credentials = secret "nats" "credentialsFile" "credentials_file";
    nats-password = secret "nats" "passwordFile" "password_file";
    nats-token = secret "nats" "tokenFile" "token_file";
    matrix-ca = file "matrix" "caFile" "ca_file";
    matrix-password = secret "matrix" "passwordFile" "password_file";
    matrix-access-token = secret "matrix" "accessTokenFile" "access_token_file";
  };
  pathOf = file: lib.getAttrFromPath (lib.splitString "." file.option) cfg;
  given = lib.filterAttrs (_: file: pathOf file != null) files;
  credentials = lib.mapAttrs (_: pathOf) given;

  dropNull = lib.filterAttrs (_: value: value != null);

  # `ops` is short for `#ops:<serverName>`.
  fullRoom =
    room:
    if lib.hasPrefix "#" room || lib.hasPrefix "!" room then room else "#${room}:${cfg.serverName}";

  checkedConfigFile = acceptedBy pkgs "nats-matrix-checked.toml" (
    file: "${lib.getExe cfg.package} check --offline --config ${file}"
  ) (format.generate "nats-matrix.toml" cfg.settings);

  fileOption =
    what: example:
    lib.mkOption {
      type = lib.types.nullOr lib.types.path;
      default = null;
      inherit example;
      description = what;
    };

  route = lib.types.submodule {
    options = {
      stream = lib.mkOption {
        type = lib.types.str;
        example = "OPS";
        description = "The JetStream stream to read.";
      };
      subjects = lib.mkOption {
        type = lib.types.nonEmptyListOf lib.types.str;
        example = [ "ops.report.>" ];
        description = "Which of its subjects; they may have the wildcards `*` and `>`.";
      };
      room = lib.mkOption {
        type = lib.types.str;
        example = "ops";
        description = ''
          The room to post in: an alias (`#ops:chat.example.com`), an id (`!...`), or just `ops` for the alias on
          {option}`services.natsMatrix.serverName`. If the alias is free the bridge makes a private room.
        '';
      };
      start = lib.mkOption {
        type = lib.types.enum [
          "all"
          "new"
        ];
        default = "all";
        example = "new";
        description = "Where to begin the first time: with all that the stream has, or with what comes from now on.";
      };
      invite = lib.mkOption {
        type = lib.types.listOf lib.types.str;
        default = [ ];
        example = [ "@alice:chat.example.com" ];
        description = ''
          Whom to invite when the bridge makes the room. A room among {option}`services.natsMatrix.rooms` has its own list.
        '';
      };
      match = lib.mkOption {
        type = lib.types.attrsOf (
          lib.types.coercedTo lib.types.str lib.singleton (lib.types.listOf lib.types.str)
        );
        default = { };
        example = {
          severity = [
            "critical"
            "warning"
          ];
          "subject.3" = "db-*";
        };
        description = ''
          What a message has to be besides: `kind`, `severity`, `status`, `source`, `header.NAME`, `payload.KEY.KEY` or
          `subject.NUMBER`, and the values that will do, in which `*` is any text.
        '';
      };
      continue = lib.mkOption {
        type = lib.types.bool;
        default = false;
        example = true;
        description = ''
          Whether later routes may take what this one takes. Routes are tried by their names' order; the first that fits
          takes a message.
        '';
      };
      default = lib.mkOption {
        type = lib.types.bool;
        default = false;
        example = true;
        description = "Whether this route takes what no other one does.";
      };
      mention = lib.mkOption {
        type = lib.types.listOf lib.types.str;
        default = [ ];
        example = [ "@alice:chat.example.com" ];
        description = "Whom a critical alert mentions, so that their phones buzz even where only mentions do.";
      };
      summary = lib.mkOption {
        type = lib.types.nullOr (
          lib.types.submodule {
            options = {
              every = lib.mkOption {
                type = lib.types.enum [
                  "day"
                  "week"
                ];
                example = "day";
                description = "How often, and thereby of what span of time.";
              };
              on = lib.mkOption {
                type = lib.types.nullOr lib.types.str;
                default = null;
                example = "friday";
                description = "On which day of the week, if every week; Monday if not said.";
              };
              at = lib.mkOption {
                type = lib.types.str;
                default = "08:00";
                description = "At what time of the day, by the route's time zone.";
              };
            };
          }
        );
        default = null;
        example = {
          every = "day";
          at = "08:00";
        };
        description = "When what came in is summed up, with a picture of disks and memory.";
      };
    };
  };

  # What `run` and `check` have in common.
  service = {
    documentation = [ "https://github.com/nats-matrix/nats-matrix" ];
    wants = [ "network-online.target" ];
    after = [
      "network-online.target"
    ]
    ++ lib.optional cfg.conduit.enable "nats-matrix-conduit.service";
    path = lib.mkForce [ ]; # they run no programs
    serviceConfig = sandbox // {
      User = "nats-matrix";
      StateDirectory = "nats-matrix";
      StateDirectoryMode = "0700";
      LoadCredential = loadCredentials credentials;
    };
  };
in
{
  options.services.natsMatrix = {
    package = lib.mkPackageOption pkgs "nats-matrix" { };

    nats = {
      servers = lib.mkOption {
        type = lib.types.listOf lib.types.str;
        default = [ ];
        example = [ "tls://nats.example.com:4222" ];
        description = "The NATS servers, as `nats://host:4222` or `tls://host:4222`. One of a cluster is enough.";
      };
      caFile = fileOption "A private CA (PEM) to trust instead of the system's." "/etc/ssl/nats-ca.pem";
      certFile = fileOption "The client's certificate (PEM), for mutual TLS." "/etc/ssl/bridge.pem";
      keyFile = mkSecretFile {
        what = "the key of the client's certificate (PEM)";
        example = "/run/secrets/bridge.key";
      };
      nkeySeedFile = mkSecretFile {
        what = "an nkey seed (`SU...`)";
        example = "/run/secrets/bridge.nk";
      };
      credentialsFile = mkSecretFile {
        what = "NATS credentials (`.creds`, a JWT and its seed)";
        example = "/run/secrets/bridge.creds";
      };
      user = lib.mkOption {
        type = lib.types.nullOr lib.types.str;
        default = null;
        example = "bridge";
        description = "The NATS user, with {option}`services.natsMatrix.nats.passwordFile`.";
      };
      passwordFile = mkSecretFile {
        what = "the password of the NATS user";
        example = "/run/secrets/nats-password";
      };
      tokenFile = mkSecretFile {
        what = "a NATS token";
        example = "/run/secrets/nats-token";
      };
    };

    matrix = {
      homeserver = lib.mkOption {
        type = lib.types.nullOr lib.types.str;
        default = null;
        defaultText = lib.literalMD "the homeserver on this machine, if `conduit.enable`";
        example = "https://matrix.example.com";
        description = "The URL of the homeserver's client API.";
      };
      caFile = fileOption "A private CA (PEM) to trust besides the system's." "/etc/ssl/matrix-ca.pem";
      user = lib.mkOption {
        type = lib.types.nullOr lib.types.str;
        default = if cfg.matrix.passwordFile != null then "bridge" else null;
        defaultText = lib.literalMD "`bridge`, if it has a password";
        example = "bridge";
        description = "The account of the bridge.";
      };
      passwordFile = mkSecretFile {
        what = "the password of the bridge's account. Where accounts are made by {option}`services.natsMatrix.provision`, it needs none: one is generated";
        example = "/run/secrets/matrix-password";
      };
      accessTokenFile = mkSecretFile {
        what = "an access token, instead of user and password";
        example = "/run/secrets/matrix-token";
      };
    };

    routes = lib.mkOption {
      type = lib.types.attrsOf route;
      default = { };
      example = {
        reports = {
          stream = "OPS";
          subjects = [ "ops.report.>" ];
          room = "ops";
        };
      };
      description = ''
        What goes where. The name is also that of the durable consumer, so a route that is renamed begins anew.
        `settings.routes` adds to these.
      '';
    };

    settings = lib.mkOption {
      type = lib.types.submodule { freeformType = format.type; };
      default = { };
      example = {
        nats.dead_letter_subject = "ops.undelivered";
      };
      description = ''
        The configuration of the bridge as its README documents it, for whatever has no option here. It is checked
        by the bridge itself when the system is built.
      '';
    };
  };

  config = lib.mkIf cfg.enable {
    assertions =
      assertOutsideStore (
        lib.mapAttrs' (_: file: lib.nameValuePair "services.natsMatrix.${file.option}" (pathOf file)) (
          lib.filterAttrs (_: file: file.secret) files
        )
      )
      ++ assertNoSecret "services.natsMatrix.settings.nats" [
        "credentials"
        "nkey_seed"
        "password"
        "token"
      ] (cfg.settings.nats or { }) "the options services.natsMatrix.nats.*File"
      ++ assertNoSecret "services.natsMatrix.settings.matrix" [
        "access_token"
        "password"
      ] (cfg.settings.matrix or { }) "the options services.natsMatrix.matrix.*File"
      ++ [
        {
          assertion = cfg.settings.nats.servers or [ ] != [ ];
          message = ''
            services.natsMatrix.nats.servers is empty: say where NATS is, for example [ "nats://127.0.0.1:4222" ].
          '';
        }
        {
          assertion = cfg.settings.routes or [ ] != [ ];
          message = ''
            services.natsMatrix.routes is empty: say what goes where, for example
            services.natsMatrix.routes.reports = { stream = "OPS"; subjects = [ "ops.report.>" ]; room = "ops"; };
          '';
        }
      ];

    services.natsMatrix.settings = lib.mkMerge (
      [
        {
          nats = lib.mapAttrs (_: lib.mkDefault) (dropNull {
            inherit (cfg.nats) servers user;
          });
          matrix = lib.mapAttrs (_: lib.mkDefault) (dropNull {
            inherit (cfg.matrix) homeserver user;
          });
          routes = lib.mapAttrsToList (
            name: route:
            {
              inherit name;
              inherit (route)
                stream
                subjects
                start
                invite
                mention
                match
                continue
                default
                ;
              room = fullRoom route.room;
            }
            // lib.optionalAttrs (route.summary != null) { summary = dropNull route.summary; }
          ) cfg.routes;
        }
      ]
      ++ lib.mapAttrsToList (name: file: lib.setAttrByPath file.key (lib.mkDefault name)) given
    );

    # `nats-matrix preview` and the others, for the administrator.
    environment.systemPackages = [ cfg.package ];
    environment.etc."nats-matrix/config.toml".source = checkedConfigFile;

    systemd.services.nats-matrix = lib.mkMerge [
      alwaysBack
      service
      {
        description = "Reports and alerts from NATS to Matrix";
        wantedBy = [ "multi-user.target" ];
        restartTriggers = [ checkedConfigFile ];
        # A refused password or a wrong configuration (77, 64) is not mended by the next attempt. The unit then shows
        # as failed, and is tried again at leisure; everything else brings it back at once.
        onFailure = [ "nats-matrix-retry.timer" ];
        serviceConfig = {
          Type = "notify";
          ExecStart = "${lib.getExe cfg.package} run";
          RestartPreventExitStatus = "64 77";
          WatchdogSec = "1min";
          # What is on its way is finished within ten seconds.
          TimeoutStopSec = 15;
        };
      }
    ];

    systemd.timers.nats-matrix-retry = {
      description = "Another attempt of the bridge, after credentials or configuration were refused";
      # Whoever stops the bridge wants it to stay so.
      unitConfig.PartOf = "nats-matrix.service";
      timerConfig = {
        Unit = "nats-matrix.service";
        OnActiveSec = "5min";
        RemainAfterElapse = false;
      };
    };

    # `systemctl start nats-matrix-check; journalctl -u nats-matrix-check`: with the credentials, sandbox and network
    # that the bridge has, which the administrator's shell has not.
    systemd.services.nats-matrix-check = lib.mkMerge [
      service
      {
        description = "Check of everything that the bridge needs";
        # Only the administrator starts it; system-manager would, too, whenever it changes.
        restartIfChanged = false;
        serviceConfig = {
          Type = "oneshot";
          ExecStart = "${lib.getExe cfg.package} check";
          Slice = "natsmatrix.slice";
          MemoryMax = cfg.memory.bridge.max;
        };
      }
    ];
  };
}

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
    credential
    credentialNames
    credentialPaths
    dropNull
    fileOption
    loadCredentials
    mkSecretFile
    natsFiles
    sandbox
    secretCredential
    secretPaths
    ;

  format = pkgs.formats.toml { };

  matrixFiles = {
    matrix-ca = credential "matrix" "caFile" "ca_file";
    matrix-password = secretCredential "matrix" "passwordFile" "password_file";
    matrix-access-token = secretCredential "matrix" "accessTokenFile" "access_token_file";
  };

  # `ops` is short for `#ops:<serverName>`.
  fullRoom =
    room:
    if lib.hasPrefix "#" room || lib.hasPrefix "!" room then room else "#${room}:${cfg.serverName}";

  checkedConfigFile = acceptedBy pkgs "nats-matrix-checked.toml" (
    file: "${lib.getExe cfg.package} check --offline --config ${file}"
  ) (format.generate "nats-matrix.toml" cfg.settings);

  languageOption = lib.mkOption {
    type = lib.types.nullOr (
      lib.types.enum [
        "en"
        "zh"
      ]
    );
    default = null;
    defaultText = lib.literalMD "`en`";
    example = "zh";
    description = "The language of the built-in texts: English or Chinese.";
  };
  timeZoneOption = lib.mkOption {
    type = lib.types.nullOr lib.types.str;
    default = null;
    defaultText = lib.literalMD "`UTC`";
    example = "Europe/Berlin";
    description = "The time zone in which times are shown.";
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
          {option}`services.natsMatrix.serverName`. If the alias is free the bridge makes a private room. In an alias
          `{subject.3}` is the third token of a message's subject, so that each machine can have its room.
        '';
      };
      fallbackRoom = lib.mkOption {
        type = lib.types.nullOr lib.types.str;
        default = null;
        example = "ops";
        description = ''
          With a token of the subject in {option}`room`: where messages go whose own room cannot be used, written like
          {option}`room`. Without it they are dead letters.
        '';
      };
      newRoomsPerHour = lib.mkOption {
        type = lib.types.nullOr lib.types.ints.u32;
        default = null;
        defaultText = lib.literalMD "`20`";
        example = 5;
        description = "With a token of the subject in {option}`room`: how many rooms are made within an hour at most.";
      };
      roomCreators = lib.mkOption {
        type = lib.types.listOf lib.types.str;
        default = [ ];
        example = [ "@alice:chat.example.com" ];
        description = ''
          With a token of the subject in {option}`room`: who may have made a room, besides the bridge and the administrators
          among {option}`services.natsMatrix.users`. That of anybody else is not posted into.
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
      language = languageOption // {
        defaultText = lib.literalMD "{option}`services.natsMatrix.display.language`";
      };
      timeZone = timeZoneOption // {
        defaultText = lib.literalMD "{option}`services.natsMatrix.display.timeZone`";
      };
      templates = lib.mkOption {
        type = lib.types.nullOr lib.types.path;
        default = null;
        example = lib.literalExpression "./templates";
        description = ''
          A directory of templates to be used instead of the built-in ones, such as `report.html.jinja`. They are tried when
          the system is built.
        '';
      };
      digestAbove = lib.mkOption {
        type = lib.types.ints.unsigned;
        default = 100;
        example = 0;
        description = ''
          When more messages than these wait, as after an outage, they are shown as one, with all of them in its thread.
          0 for never.
        '';
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
      quiet = lib.mkOption {
        type = lib.types.nullOr (
          lib.types.submodule {
            options = {
              from = lib.mkOption {
                type = lib.types.str;
                example = "22:00";
                description = "When it begins.";
              };
              to = lib.mkOption {
                type = lib.types.str;
                example = "07:00";
                description = "When it ends.";
              };
            };
          }
        );
        default = null;
        description = ''
          The hours of each day in which only critical alerts are shown at once. All else is held back, and shown as one
          message when they are over.
        '';
      };
      alertScope = lib.mkOption {
        type = lib.types.str;
        default = "subject";
        example = "subject.3";
        description = ''
          Which messages speak of the same alerts: `subject`, those on the same subject; `subject.3`, those with the same third
          token; `route`, all that the route takes.
        '';
      };
      flapping = lib.mkOption {
        type = lib.types.str;
        default = "15m";
        description = "An alert that fires again this soon after its end goes on with its conversation, and does not push.";
      };
      lateAfter = lib.mkOption {
        type = lib.types.str;
        default = "1h";
        description = ''
          What is posted this long after it was published is late: the room is told when the last of it is there. `0s` for never.
        '';
      };
      attachLimit = lib.mkOption {
        type = lib.types.str;
        default = "32 MB";
        example = "0";
        description = ''
          How much is uploaded of the route's messages that are too long for the room, or no text, within an hour: the homeserver
          keeps it. Beyond that the room gets their beginning, and their number in the stream. `0` for nothing.
        '';
      };
      remind = lib.mkOption {
        type = lib.types.str;
        default = "4h";
        description = "An alert that goes on, or comes and goes, pushes again when it is said again this long after its last push.";
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
      # The bridge looks whose program has the homeserver's port before it sends a secret there; in a namespace of its
      # own all users but root look the same.
      PrivateUsers = false;
      User = "nats-matrix";
      StateDirectory = "nats-matrix";
      StateDirectoryMode = "0700";
      LoadCredential = loadCredentials (credentialPaths cfg (natsFiles // matrixFiles));
    };
  };
in
{
  options.services.natsMatrix = {
    package = lib.mkPackageOption pkgs "nats-matrix" { };

    matrix = {
      homeserver = lib.mkOption {
        type = lib.types.nullOr lib.types.str;
        default = null;
        defaultText = lib.literalMD "the homeserver on this machine, if `conduit.enable`";
        example = "https://matrix.example.com";
        description = "The URL of the homeserver's client API.";
      };
      homeserverOwner = lib.mkOption {
        type = lib.types.nullOr lib.types.str;
        default = null;
        defaultText = lib.literalMD "the user of the homeserver on this machine, if `conduit.enable`";
        example = "matrix-synapse";
        description = ''
          The user that the homeserver runs as, if it is on this machine and reached without TLS: nothing is sent to the
          program of anybody else who has taken its port. Not declared, root and all users of the system will do; `*` is
          everybody.
        '';
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

    health.listen = lib.mkOption {
      type = lib.types.nullOr lib.types.str;
      default = null;
      example = "127.0.0.1:9464";
      description = ''
        Address and port of the status page, `/livez`, `/readyz` and `/metrics`; none without it. Whoever reaches it may
        read it: routes, subjects and times, but no content of messages.
      '';
    };
    health.hosts = lib.mkOption {
      type = lib.types.listOf lib.types.str;
      default = [ ];
      example = [ "server-01" ];
      description = ''
        The names by which it may be asked, besides `localhost` and any address: those that Prometheus, a proxy or a
        browser elsewhere knows this machine by.
      '';
    };
    display = {
      language = languageOption;
      timeZone = timeZoneOption;
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
      assertOutsideStore (secretPaths cfg matrixFiles)
      ++ assertNoSecret "services.natsMatrix.settings.matrix" [
        "access_token"
        "password"
      ] (cfg.settings.matrix or { }) "the options services.natsMatrix.matrix.*File"
      ++ [
        {
          assertion = cfg.settings.routes or [ ] != [ ];
          message = ''
            services.natsMatrix.routes is empty: say what goes where, for example
            services.natsMatrix.routes.reports = { stream = "OPS"; subjects = [ "ops.report.>" ]; room = "ops"; };
          '';
        }
      ];

    services.natsMatrix.settings = lib.mkMerge [
      {
        matrix = lib.mapAttrs (_: lib.mkDefault) (dropNull {
          inherit (cfg.matrix) homeserver user;
          homeserver_owner = cfg.matrix.homeserverOwner;
        });
        health = lib.mapAttrs (_: lib.mkDefault) (dropNull {
          inherit (cfg.health) listen;
          hosts = if cfg.health.hosts == [ ] then null else cfg.health.hosts;
        });
        display = lib.mapAttrs (_: lib.mkDefault) (dropNull {
          inherit (cfg.display) language;
          time_zone = cfg.display.timeZone;
        });
        routes = lib.mapAttrsToList (
          name: route:
          dropNull {
            inherit (route) language quiet;
            time_zone = route.timeZone;
            # A path of the configuration becomes one of the store, which the bridge can read.
            templates = if route.templates == null then null else "${route.templates}";
            summary = if route.summary == null then null else dropNull route.summary;
            fallback_room = if route.fallbackRoom == null then null else fullRoom route.fallbackRoom;
            new_rooms_per_hour = route.newRoomsPerHour;
            room_creators = if route.roomCreators == [ ] then null else route.roomCreators;
          }
          // {
            inherit name;
            inherit (route)
              stream
              subjects
              start
              invite
              mention
              flapping
              remind
              match
              continue
              default
              ;
            room = fullRoom route.room;
            alert_scope = route.alertScope;
            digest_above = route.digestAbove;
            late_after = route.lateAfter;
            attach_limit = route.attachLimit;
          }
        ) cfg.routes;
      }
      (credentialNames cfg matrixFiles)
    ];

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
          # A shell is everywhere; the program kill is not.
          ExecReload = "/bin/sh -c 'kill -HUP $MAINPID'";
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

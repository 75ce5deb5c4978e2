# The bridge: its configuration, which is checked when the system is built, and its unit.
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

  # A directory with a file for each shape. A path of the Nix language is copied to the store, where the bridge can read it.
  shapes = pkgs.linkFarm "nats-matrix-shapes" (
    lib.mapAttrsToList (name: shape: {
      name = "${name}.toml";
      path = if lib.isAttrs shape then format.generate "${name}.toml" shape else "${shape}";
    }) cfg.shapes
  );

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
        description = "The subjects of the stream to read; they may have the wildcards `*` and `>`.";
      };
      room = lib.mkOption {
        type = lib.types.str;
        example = "ops";
        description = ''
          The room to post in: an alias (`#ops:chat.example.com`), an id (`!...`), or just `ops` for the alias on
          {option}`services.natsMatrix.serverName`. If the alias is free, the bridge creates a private room. In an alias,
          `{subject.3}` is the third token of a message's subject, so that each machine can have its own room.
        '';
      };
      fallbackRoom = lib.mkOption {
        type = lib.types.nullOr lib.types.str;
        default = null;
        example = "ops";
        description = ''
          With a token of the subject in {option}`room`: the room for messages whose own room cannot be used, written like
          {option}`room`. Without it they become dead letters.
        '';
      };
      newRoomsPerHour = lib.mkOption {
        type = lib.types.nullOr lib.types.ints.u32;
        default = null;
        defaultText = lib.literalMD "`20`";
        example = 5;
        description = "With a token of the subject in {option}`room`: the number of rooms that the bridge may create within an hour.";
      };
      roomCreators = lib.mkOption {
        type = lib.types.listOf lib.types.str;
        default = [ ];
        example = [ "@alice:chat.example.com" ];
        description = ''
          With a token of the subject in {option}`room`: the users whose rooms are accepted, besides those of the bridge and of the
          administrators among {option}`services.natsMatrix.users`. The bridge does not post into rooms of anybody else.
        '';
      };
      order = lib.mkOption {
        type = lib.types.int;
        default = 1000;
        example = 10;
        description = ''
          The place of the route: those with smaller numbers are tried first, and those with the same number in the order of
          their names. The first that matches takes a message.
        '';
      };
      consumer = lib.mkOption {
        type = lib.types.nullOr (lib.types.strMatching "[A-Za-z0-9_-]{1,80}");
        default = null;
        defaultText = lib.literalMD "the name of the route with a hash behind it";
        example = "reports-1f0c2a9b";
        description = ''
          The name of the durable consumer. With the name that it has, as `nats-matrix consumers` prints it, a renamed route
          goes on where it was.
        '';
      };
      start = lib.mkOption {
        type = lib.types.enum [
          "all"
          "new"
        ];
        default = "all";
        example = "new";
        description = "Where a new consumer begins: with all messages that the stream has, or with those published from then on.";
      };
      invite = lib.mkOption {
        type = lib.types.listOf lib.types.str;
        default = [ ];
        example = [ "@alice:chat.example.com" ];
        description = ''
          The users to invite when the bridge creates the room. A room among {option}`services.natsMatrix.rooms` has its own list.
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
          The conditions that a message has to meet besides its subject: `kind`, `severity`, `status`, `source`, `header.NAME`,
          `payload.KEY.KEY` or `subject.NUMBER`, each with the accepted values, in which `*` stands for any text.
        '';
      };
      continue = lib.mkOption {
        type = lib.types.bool;
        default = false;
        example = true;
        description = ''
          Whether later routes may also take the messages of this one. Otherwise the first route that matches takes a message:
          see {option}`services.natsMatrix.routes.<name>.order`.
        '';
      };
      default = lib.mkOption {
        type = lib.types.bool;
        default = false;
        example = true;
        description = "Whether this route takes the messages that no other route takes.";
      };
      mention = lib.mkOption {
        type = lib.types.listOf lib.types.str;
        default = [ ];
        example = [ "@alice:chat.example.com" ];
        description = "The users whom a critical alert mentions, so that they are notified even in rooms where only mentions notify.";
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
          A directory of templates that replace the built-in ones, such as `report.html.jinja`. They are tested when the system
          is built.
        '';
      };
      shapes = lib.mkOption {
        type = lib.types.nullOr lib.types.path;
        default = null;
        defaultText = lib.literalMD "{option}`services.natsMatrix.shapes`";
        example = lib.literalExpression "./shapes";
        description = ''
          A directory of shapes for this route alone, instead of those of all routes.
        '';
      };
      digestAbove = lib.mkOption {
        type = lib.types.ints.unsigned;
        default = 100;
        example = 0;
        description = ''
          When more messages than this wait, as after an outage, they are shown as one digest, with all of them in its thread.
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
                description = "The interval, which is also the time that each summary covers.";
              };
              on = lib.mkOption {
                type = lib.types.nullOr lib.types.str;
                default = null;
                example = "friday";
                description = "The day of a weekly summary; Monday by default.";
              };
              at = lib.mkOption {
                type = lib.types.str;
                default = "08:00";
                example = "07:30";
                description = "The time of day, in the route's time zone.";
              };
            };
          }
        );
        default = null;
        example = {
          every = "day";
          at = "08:00";
        };
        description = "The schedule of summaries of the messages, with a picture of disk and memory usage.";
      };
      quiet = lib.mkOption {
        type = lib.types.nullOr (
          lib.types.submodule {
            options = {
              from = lib.mkOption {
                type = lib.types.str;
                example = "22:00";
                description = "The time at which the quiet hours begin.";
              };
              to = lib.mkOption {
                type = lib.types.str;
                example = "07:00";
                description = "The time at which the quiet hours end.";
              };
            };
          }
        );
        default = null;
        example = {
          from = "22:00";
          to = "07:00";
        };
        description = ''
          The hours of each day in which only critical alerts are shown at once. All other messages are held back, and shown as
          one message when the quiet hours end.
        '';
      };
      answers = lib.mkOption {
        type = lib.types.nullOr (
          lib.types.submodule {
            options = {
              ack = lib.mkOption {
                type = lib.types.nullOr (lib.types.listOf lib.types.str);
                default = null;
                example = [ "👀" ];
                description = "The reactions that acknowledge an alert; 👍 and ✅ by default.";
              };
              offer = lib.mkOption {
                type = lib.types.bool;
                default = false;
                description = ''
                  Whether the bridge puts the first of these reactions on each alert itself, so that it takes one tap to answer.
                '';
              };
              power = lib.mkOption {
                type = lib.types.nullOr lib.types.ints.unsigned;
                default = null;
                example = 50;
                description = ''
                  The power level that somebody needs in the room to answer. By default everybody in the room may, or if `people`
                  are given only they.
                '';
              };
              people = lib.mkOption {
                type = lib.types.listOf lib.types.str;
                default = [ ];
                example = [ "@alice:chat.example.com" ];
                description = "The people who may answer whatever power they have.";
              };
              remindAfter = lib.mkOption {
                type = lib.types.str;
                default = "4h";
                example = "8h";
                description = ''
                  An alert that somebody has acknowledged pushes again, when it is said again this long after that, or after its
                  last push if that was later.
                '';
              };
            };
          }
        );
        default = null;
        example = {
          offer = true;
        };
        description = ''
          Lets people in the room acknowledge alerts, by a reaction or a reply. `{ }` is enough. Without it the bridge does not
          listen.
        '';
      };
      alertScope = lib.mkOption {
        type = lib.types.str;
        default = "subject";
        example = "subject.3";
        description = ''
          Which messages may be about the same alert: `subject`, those on the same subject; `subject.3`, those with the same
          third token; `route`, all messages of the route.
        '';
      };
      flapping = lib.mkOption {
        type = lib.types.str;
        default = "15m";
        example = "30m";
        description = "An alert that fires again within this time after its end continues its thread, without a push notification.";
      };
      lateAfter = lib.mkOption {
        type = lib.types.str;
        default = "1h";
        example = "0s";
        description = ''
          A message that is posted this long after it was published is late: the room is told when the last late message is
          there. `0s` for never.
        '';
      };
      attachLimit = lib.mkOption {
        type = lib.types.str;
        default = "32 MB";
        example = "0";
        description = ''
          How much may be uploaded within an hour for messages that are too long for the room, or not text; the homeserver keeps
          these files. Beyond the limit the room gets the beginning of a message and its number in the stream. `0` for nothing.
        '';
      };
      unknown = lib.mkOption {
        type = lib.types.enum [
          "notice"
          "text"
        ];
        default = "text";
        description = ''
          How messages are sent that do not say how urgent they are, such as plain text: `text`, which pushes as the room does
          for everybody's messages, or `notice`, which does not push.
        '';
      };
      unmasked = lib.mkOption {
        type = lib.types.listOf (
          lib.types.enum [
            "jwt"
            "private-key"
            "nkey"
            "password"
            "token"
            "unsubscribe-link"
            "all"
          ]
        );
        default = [ ];
        example = [ "unsubscribe-link" ];
        description = "The kinds of secrets that are shown as they are. All others are hidden in the room and in attached files.";
      };
      remind = lib.mkOption {
        type = lib.types.str;
        default = "4h";
        example = "12h";
        description = "An alert that goes on, or flaps, sends a push notification again with its next message this long after the last.";
      };
    };
  };

  # Routes with the same `order` come by name; `sort` keeps them so.
  routesInOrder = lib.sort (a: b: a.value.order < b.value.order) (
    lib.mapAttrsToList lib.nameValuePair cfg.routes
  );

  # The settings that the units of `run` and `check` share.
  service = {
    documentation = [
      "https://github.com/nats-matrix/nats-matrix/blob/main/docs/src/guide/troubleshooting.md"
    ];
    wants = [ "network-online.target" ];
    after = [
      "network-online.target"
    ]
    ++ lib.optional cfg.conduit.enable "nats-matrix-conduit.service";
    path = lib.mkForce [ ]; # they run no other programs
    serviceConfig = sandbox // {
      # Before it sends a secret, the bridge checks whose program has the homeserver's port. In a user namespace of its
      # own, all users but root would look the same.
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
          The user that the homeserver runs as, if it is on this machine and reached without TLS: nothing is sent to a program
          of another user that has taken its port. Without this option, root and all system users are accepted; `*` is
          everybody.
        '';
      };
      caFile = fileOption "A private CA (PEM) to trust in addition to the system's." "/etc/ssl/matrix-ca.pem";
      user = lib.mkOption {
        type = lib.types.nullOr lib.types.str;
        default = if cfg.matrix.passwordFile != null then "bridge" else null;
        defaultText = lib.literalMD "`bridge`, if it has a password";
        example = "bridge";
        description = "The account of the bridge.";
      };
      passwordFile = mkSecretFile {
        what = "the password of the bridge's account. Where {option}`services.natsMatrix.provision` creates accounts, none is needed: it is generated";
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
        The address and port of the status page, `/livez`, `/readyz` and `/metrics`; without it there are none. Anybody who
        can reach it can read routes, subjects and times, but no content of messages.
      '';
    };
    health.hosts = lib.mkOption {
      type = lib.types.listOf lib.types.str;
      default = [ ];
      example = [ "server-01" ];
      description = ''
        The host names that requests may use, besides `localhost` and any IP address: those by which Prometheus, a proxy or
        a browser elsewhere reaches this machine.
      '';
    };
    display = {
      language = languageOption;
      timeZone = timeZoneOption;
    };

    shapes = lib.mkOption {
      type = lib.types.attrsOf (lib.types.either lib.types.path format.type);
      default = { };
      example = lib.literalExpression ''
        {
          ups = ./shapes/ups.toml;
          door = {
            name = "Door";
            recognise.has = [ "door" "state" ];
            rule = [
              {
                as = "note";
                headline = "payload.door ~ ' is ' ~ payload.state";
              }
            ];
          };
        }
      '';
      description = ''
        [Shapes](https://github.com/nats-matrix/nats-matrix/blob/main/docs/src/guide/shapes.md), which say how the messages
        of other programs are shown: files, or their content. They are checked when the system is built.
      '';
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
        The routes from NATS subjects to rooms. The name of the durable consumer is made of that of the route, so a renamed
        route begins like a new one, unless it names its `consumer`. `settings.routes` adds to these.
      '';
    };

    settings = lib.mkOption {
      type = lib.types.submodule { freeformType = format.type; };
      default = { };
      example = {
        nats.dead_letter_subject = "undelivered.ops";
      };
      description = ''
        The [configuration](https://github.com/nats-matrix/nats-matrix/blob/main/docs/src/reference/configuration.md)
        of the bridge, for everything that has no option here. The bridge itself checks it when the system is built.
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
            services.natsMatrix.routes is empty: declare which messages go into which room, for example
            services.natsMatrix.routes.reports = { stream = "OPS"; subjects = [ "ops.report.>" ]; room = "ops"; };
          '';
        }
      ];

    services.natsMatrix.settings = lib.mkMerge [
      (lib.mkIf (cfg.shapes != { }) { shapes = lib.mkDefault "${shapes}"; })
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
        routes = map (
          { name, value }:
          let
            route = value;
          in
          dropNull {
            inherit (route) consumer language quiet;
            time_zone = route.timeZone;
            # A path of the Nix language is copied to the store, where the bridge can read it.
            templates = if route.templates == null then null else "${route.templates}";
            shapes = if route.shapes == null then null else "${route.shapes}";
            summary = if route.summary == null then null else dropNull route.summary;
            answers =
              if route.answers == null then
                null
              else
                dropNull {
                  inherit (route.answers)
                    ack
                    offer
                    power
                    people
                    ;
                  remind_after = route.answers.remindAfter;
                };
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
              unknown
              unmasked
              ;
            room = fullRoom route.room;
            alert_scope = route.alertScope;
            digest_above = route.digestAbove;
            late_after = route.lateAfter;
            attach_limit = route.attachLimit;
          }
        ) routesInOrder;
      }
      (credentialNames cfg matrixFiles)
    ];

    # `nats-matrix preview` and the other commands, for the administrator.
    environment.systemPackages = [ cfg.package ];
    environment.etc."nats-matrix/config.toml".source = checkedConfigFile;

    systemd.services.nats-matrix = lib.mkMerge [
      alwaysBack
      service
      {
        description = "Reports and alerts from NATS to Matrix";
        wantedBy = [ "multi-user.target" ];
        restartTriggers = [ checkedConfigFile ];
        # After a password that the homeserver refuses or NATS has never accepted (77), or a wrong configuration (64), an
        # immediate retry would be in vain. The unit then shows as failed and is retried after a while; after any other
        # failure it restarts at once.
        onFailure = [ "nats-matrix-retry.timer" ];
        serviceConfig = {
          Type = "notify";
          ExecStart = "${lib.getExe cfg.package} run";
          # /bin/sh exists everywhere; the program kill does not.
          ExecReload = "/bin/sh -c 'kill -HUP $MAINPID'";
          RestartPreventExitStatus = "64 77";
          WatchdogSec = "1min";
          # The bridge finishes the messages in progress within ten seconds.
          TimeoutStopSec = 15;
        };
      }
    ];

    systemd.timers.nats-matrix-retry = {
      description = "Another attempt of the bridge, after credentials or configuration were refused";
      # Stopping the bridge also stops the timer, so that the bridge stays stopped.
      unitConfig.PartOf = "nats-matrix.service";
      timerConfig = {
        Unit = "nats-matrix.service";
        OnActiveSec = "5min";
        RemainAfterElapse = false;
      };
    };

    # `systemctl start nats-matrix-check; journalctl -u nats-matrix-check` runs the check with the credentials, sandbox
    # and network of the bridge, which the administrator's shell does not have.
    systemd.services.nats-matrix-check = lib.mkMerge [
      service
      {
        description = "Check of everything that the bridge needs";
        # Only the administrator starts it; system-manager would also start it whenever it changes.
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

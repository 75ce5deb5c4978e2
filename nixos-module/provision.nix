# The declared accounts and rooms: made with a Conduit of its own before the real one starts, or in a running homeserver
# elsewhere.
{
  config,
  lib,
  ...
}:
let
  cfg = config.services.natsMatrix;
  inherit (import ./lib.nix { inherit lib; })
    assertNoSecret
    assertOutsideStore
    loadCredentials
    memoryLimits
    mkSecretFile
    sandbox
    ;

  unit = "nats-matrix-provision.service";
  # systemd makes this a link to the state directory of a service with a dynamic user.
  stateDirectory = "/var/lib/nats-matrix-provision";

  makesAccounts = cfg.conduit.enable || cfg.provision.registrationSecretFile != null;
  passwordIsGenerated =
    makesAccounts && cfg.matrix.passwordFile == null && cfg.matrix.accessTokenFile == null;

  dropNull = lib.filterAttrs (_: value: value != null);

  passwordOf = name: "user-${name}-password";
  credentials = {
    matrix-ca = cfg.matrix.caFile;
    matrix-password = cfg.matrix.passwordFile;
    matrix-access-token = cfg.matrix.accessTokenFile;
    registration-secret = cfg.provision.registrationSecretFile;
  }
  // lib.mapAttrs' (name: user: lib.nameValuePair (passwordOf name) user.passwordFile) cfg.users;

  # The part of the configuration that `provision` reads: a change of a route is no reason to stop the homeserver.
  declaration = builtins.toJSON (
    lib.filterAttrs (
      section: _:
      lib.elem section [
        "matrix"
        "provision"
        "rooms"
        "users"
      ]
    ) cfg.settings
  );

  # The bridge and its check, which run after `provision`. The file does not exist until that has succeeded once. A
  # newline in its place lets the service start and report that; systemd 252 ignores an empty default.
  withGeneratedPassword = {
    serviceConfig = {
      LoadCredential = [ "bridge-password:${stateDirectory}/bridge-password" ];
      SetCredential = [ "bridge-password:\\n" ];
    };
  };

  user = lib.types.submodule {
    options = {
      admin = lib.mkOption {
        type = lib.types.bool;
        default = false;
        example = true;
        description = "Whether this person is an administrator of the homeserver.";
      };
      displayName = lib.mkOption {
        type = lib.types.nullOr lib.types.str;
        default = null;
        example = "Alice";
        description = "The initial display name. A name that the person has changed in Element is kept.";
      };
      passwordFile = mkSecretFile {
        what = "the initial password; without it one is generated, and `nats-matrix connect` says where it is";
        example = "/run/secrets/alice";
      };
    };
  };

  room = lib.types.submodule {
    options = {
      name = lib.mkOption {
        type = lib.types.nullOr lib.types.str;
        default = null;
        example = "Operations";
        description = "The name of the room.";
      };
      topic = lib.mkOption {
        type = lib.types.nullOr lib.types.str;
        default = null;
        example = "What the servers say";
        description = "The topic of the room.";
      };
      avatar = lib.mkOption {
        type = lib.types.nullOr lib.types.path;
        default = null;
        example = lib.literalExpression "./ops.png";
        description = "The picture of the room. Everybody on the server may read the file.";
      };
      invite = lib.mkOption {
        type = lib.types.listOf lib.types.str;
        default = [ ];
        example = [
          "alice"
          "@bob:example.org"
        ];
        description = "The people to invite: names of {option}`services.natsMatrix.users`, or whole Matrix ids.";
      };
      post = lib.mkOption {
        type = lib.types.nullOr (
          lib.types.enum [
            "everyone"
            "bridge"
          ]
        );
        default = null;
        example = "bridge";
        description = ''
          Who may write in the room. With `bridge`, people can only read. In a room that is created without this option,
          everybody may write.
        '';
      };
      adopt = lib.mkOption {
        type = lib.types.bool;
        default = false;
        example = true;
        description = ''
          Whether this may be a room that was created by somebody other than the bridge and the administrators. Its creator can
          do anything there.
        '';
      };
    };
  };
in
{
  options.services.natsMatrix = {
    users = lib.mkOption {
      type = lib.types.attrsOf user;
      default = { };
      example = {
        alice.admin = true;
      };
      description = ''
        The people who have an account on the homeserver, by the part of their Matrix id before the colon. Accounts are
        created, and never removed.
      '';
    };

    rooms = lib.mkOption {
      type = lib.types.attrsOf room;
      default = { };
      example = {
        ops = {
          name = "Operations";
          invite = [ "alice" ];
        };
      };
      description = ''
        The rooms, by their alias without `#` and server, as {option}`services.natsMatrix.routes.<name>.room` names them.
        The bridge creates them as private rooms.
      '';
    };

    provision = {
      enable = lib.mkOption {
        type = lib.types.bool;
        default = cfg.conduit.enable || cfg.users != { } || cfg.rooms != { };
        defaultText = lib.literalExpression "conduit.enable || users != { } || rooms != { }";
        example = false;
        description = ''
          Whether `nats-matrix-provision.service` creates the accounts and rooms, at boot and when the declaration changes. A
          homeserver on this machine is stopped meanwhile. Restart the service when a secret has changed.
        '';
      };

      registrationSecretFile = mkSecretFile {
        what = "the `registration_shared_secret` of a Synapse elsewhere, with which accounts are created there";
        example = "/run/secrets/registration";
      };
    };
  };

  config = lib.mkIf (cfg.enable && cfg.provision.enable) {
    assertions =
      assertOutsideStore (
        {
          "services.natsMatrix.provision.registrationSecretFile" = cfg.provision.registrationSecretFile;
        }
        // lib.mapAttrs' (
          name: user: lib.nameValuePair "services.natsMatrix.users.${name}.passwordFile" user.passwordFile
        ) cfg.users
      )
      ++ assertNoSecret "services.natsMatrix.settings.provision" [
        "registration_secret"
      ] (cfg.settings.provision or { }) "services.natsMatrix.provision.registrationSecretFile"
      ++ lib.concatLists (
        lib.mapAttrsToList (
          name: settings:
          assertNoSecret "services.natsMatrix.settings.users.${name}" [
            "password"
          ] settings "services.natsMatrix.users.${name}.passwordFile"
        ) (cfg.settings.users or { })
      )
      ++ map (name: {
        # The name becomes part of a Matrix id, and the name of a file and of a credential.
        assertion = lib.match "[a-z0-9_=+-][a-z0-9._=+-]*" name != null;
        message = ''
          services.natsMatrix.users."${name}": a name may only have small letters, digits and any of . _ = + -, and must not
          begin with a dot.
        '';
      }) (lib.attrNames cfg.users)
      ++ [
        {
          assertion = cfg.users == { } || makesAccounts;
          message = ''
            services.natsMatrix.users: the homeserver does not run here (conduit.enable = false), and only its administrator
            can create accounts. Set services.natsMatrix.provision.registrationSecretFile if it is a Synapse of yours;
            otherwise remove services.natsMatrix.users and have its administrator create the accounts.
          '';
        }
        {
          assertion = !cfg.conduit.enable || cfg.provision.registrationSecretFile == null;
          message = ''
            services.natsMatrix.provision.registrationSecretFile is for a Synapse elsewhere, and the homeserver of this
            machine needs none: leave it out, or set services.natsMatrix.conduit.enable = false.
          '';
        }
      ];

    services.natsMatrix = {
      matrix.user = lib.mkIf passwordIsGenerated (lib.mkDefault "bridge");

      settings = {
        provision = lib.mkIf (cfg.provision.registrationSecretFile != null) {
          registration_secret_file = lib.mkDefault "registration-secret";
        };
        users = lib.mkIf (cfg.users != { }) (
          lib.mapAttrs (
            name: user:
            lib.mapAttrs (_: lib.mkDefault) (dropNull {
              inherit (user) admin;
              display_name = user.displayName;
              password_file = if user.passwordFile != null then passwordOf name else null;
            })
          ) cfg.users
        );
        rooms = lib.mkIf (cfg.rooms != { }) (
          lib.mapAttrs (
            _: room:
            lib.mapAttrs (_: lib.mkDefault) (dropNull {
              inherit (room)
                name
                topic
                invite
                post
                adopt
                ;
              avatar_file = room.avatar;
            })
          ) cfg.rooms
        );
      };
    };

    systemd.services = lib.mkMerge [
      {
        nats-matrix-provision = {
          description = "Accounts and rooms of nats-matrix";
          documentation = [ "https://github.com/nats-matrix/nats-matrix" ];
          wants = [ "network-online.target" ];
          after = [ "network-online.target" ];
          before = [ "nats-matrix.service" ];
          path = lib.mkForce [ ]; # the only program it runs is named in the configuration
          restartTriggers = [ declaration ];
          # Restarted in one step with the homeserver, which is part of it, instead of stopped now and started much
          # later.
          stopIfChanged = false;
          serviceConfig =
            sandbox
            // memoryLimits cfg.memory.${if cfg.conduit.enable then "conduit" else "bridge"}
            // {
              Type = "oneshot";
              RemainAfterExit = true;
              ExecStart = "${lib.getExe cfg.package} provision";
              StateDirectory = [ (baseNameOf stateDirectory) ];
              StateDirectoryMode = "0700";
              LoadCredential = loadCredentials credentials;
            };
        };
      }
      (lib.mkIf cfg.conduit.enable {
        nats-matrix-provision = {
          before = [
            "nats-matrix-conduit.service"
            "nats-matrix-tunnel.service"
          ];
          serviceConfig = {
            # Its own Conduit allows registration with a token, and nobody else can reach that one.
            PrivateNetwork = true;
            # It may have to migrate the database before it creates accounts.
            TimeoutStartSec = "15min";
          };
        };
        # Started and stopped with provisioning, so that only one Conduit runs at a time. After `systemctl restart
        # nats-matrix-provision` the homeserver runs again, even if provisioning failed.
        nats-matrix-conduit = {
          wants = [ unit ];
          partOf = [ unit ];
          # NixOS does not restart a unit that has failed; it is retried when this one starts.
          restartTriggers = [ declaration ];
        };
      })
      (lib.mkIf (!cfg.conduit.enable) {
        nats-matrix-provision = {
          wantedBy = [ "multi-user.target" ];
          unitConfig.StartLimitIntervalSec = 0;
          serviceConfig = {
            # Like the bridge, it checks whose program has the homeserver's port.
            PrivateUsers = false;
            User = "nats-matrix-provision";
            TimeoutStartSec = "2min";
            # The homeserver may start later. A refusal by it (77) or a wrong declaration (64) would not change on a
            # retry.
            Restart = "on-failure";
            # Shorter, and it would use up the logins that Synapse allows for all users, one in five minutes.
            RestartSec = "5min";
            RestartPreventExitStatus = "64 77";
          };
        };
      })
      (lib.mkIf passwordIsGenerated {
        nats-matrix = withGeneratedPassword;
        nats-matrix-check = withGeneratedPassword;
      })
    ];
  };
}

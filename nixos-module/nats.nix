# The connection to NATS, for the bridge and for the reports and alerts of this machine.
{ config, lib, ... }:
let
  cfg = config.services.natsMatrix;
  inherit (import ./lib.nix { inherit lib; })
    assertNoSecret
    assertOutsideStore
    credentialNames
    dropNull
    fileOption
    mkSecretFile
    natsFiles
    secretPaths
    ;
in
{
  options.services.natsMatrix = {
    nats = {
      servers = lib.mkOption {
        type = lib.types.listOf lib.types.str;
        default = [ ];
        example = [ "tls://nats.example.com:4222" ];
        description = ''
          The NATS servers, all as `tls://host:4222` or all as `nats://host:4222`. For a cluster without TLS one is enough;
          with TLS, name each.
        '';
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
      inboxPrefix = lib.mkOption {
        type = lib.types.nullOr lib.types.str;
        default = null;
        example = "_INBOX_server-01";
        description = ''
          The prefix of the subjects on which NATS answers and delivers. Anybody who may subscribe to it, followed by `.>`, can
          read all messages. The default is `_INBOX_nats-matrix`, and for reports and alerts of this machine
          `_INBOX_nats-matrix-publish.` followed by its name.
        '';
      };
      jetstreamDomain = lib.mkOption {
        type = lib.types.nullOr lib.types.str;
        default = null;
        example = "OPS";
        description = ''
          The JetStream domain of the streams, if they are behind a leaf node, or the name under which another account exports
          them to this one.
        '';
      };
    };
  };

  config = lib.mkIf (cfg.enable || cfg.reporter.enable) {
    assertions =
      assertOutsideStore (secretPaths cfg natsFiles)
      ++ assertNoSecret "services.natsMatrix.settings.nats" [
        "credentials"
        "nkey_seed"
        "password"
        "token"
      ] (cfg.settings.nats or { }) "the options services.natsMatrix.nats.*File"
      ++ [
        {
          assertion = cfg.settings.nats.servers or [ ] != [ ];
          message = ''
            services.natsMatrix.nats.servers is empty: name the NATS server, for example [ "nats://127.0.0.1:4222" ].
          '';
        }
      ];

    services.natsMatrix.settings = lib.mkMerge [
      {
        nats = lib.mapAttrs (_: lib.mkDefault) (dropNull {
          inherit (cfg.nats) servers user;
          inbox_prefix = cfg.nats.inboxPrefix;
          jetstream_domain = cfg.nats.jetstreamDomain;
        });
      }
      (credentialNames cfg natsFiles)
    ];
  };
}

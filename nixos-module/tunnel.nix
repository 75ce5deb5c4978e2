# The Cloudflare Tunnel: the only way in, opened by an outgoing connection.
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
    assertOutsideStore
    loadCredentials
    mebibytes
    mkSecretFile
    sandbox
    ;

  format = pkgs.formats.yaml { };
  local = cfg.tunnel.credentialsFile != null;
  homeserver = "http://127.0.0.1:${toString cfg.conduit.port}";
  hostOfServer = lib.head (lib.splitString ":" cfg.serverName);
  wellKnown = "^/\\.well-known/matrix/client$";

  ingress = [
    # The homeserver does not allow registration either; this rule works even if somebody enables it there.
    {
      hostname = cfg.tunnel.hostname;
      path = "^/_matrix/client/.*register";
      service = "http_status:403";
    }
    {
      hostname = cfg.tunnel.hostname;
      path = "^/_matrix/(client|media)/";
      service = homeserver;
    }
    {
      hostname = cfg.tunnel.hostname;
      path = wellKnown;
      service = homeserver;
    }
  ]
  ++ lib.optional (cfg.tunnel.hostname != hostOfServer) {
    hostname = hostOfServer;
    path = wellKnown;
    service = homeserver;
  }
  ++ [ { service = "http_status:404"; } ];

  checkedConfigFile = acceptedBy pkgs "tunnel-checked.yml" (
    file: "${lib.getExe cfg.tunnel.package} tunnel --config ${file} ingress validate"
  ) (format.generate "tunnel.yml" { inherit ingress; });
in
{
  options.services.natsMatrix.tunnel = {
    enable = lib.mkOption {
      type = lib.types.bool;
      default = cfg.tunnel.credentialsFile != null || cfg.tunnel.tokenFile != null;
      defaultText = lib.literalExpression "credentialsFile != null || tokenFile != null";
      example = false;
      description = "Whether to run cloudflared. By default it runs when it has credentials.";
    };

    package = lib.mkPackageOption pkgs "cloudflared" { };

    hostname = lib.mkOption {
      type = lib.types.str;
      default = hostOfServer;
      defaultText = lib.literalMD "the server's name, without a port";
      example = "matrix.example.com";
      description = ''
        The host name for which Cloudflare forwards requests. If it is not the server's name, route
        `https://<serverName>/.well-known/matrix/client` to the tunnel as well.
      '';
    };

    credentialsFile = mkSecretFile {
      what = "the credentials that `cloudflared tunnel create` wrote (JSON). The ingress rules are then those of this module: only the client API of Matrix is reachable, everything else is answered with 404";
      example = "/run/secrets/tunnel.json";
    };

    tokenFile = mkSecretFile {
      what = "the token of a tunnel made in Cloudflare's dashboard. The ingress rules are then in the dashboard, too: first answer `^/_matrix/client/.*register` with 403, then let only `^/_matrix/(client|media)/` and `^/\\.well-known/matrix/client$` reach the homeserver";
      example = "/run/secrets/tunnel-token";
    };

    protocol = lib.mkOption {
      type = lib.types.enum [
        "auto"
        "http2"
        "quic"
      ];
      default = "auto";
      example = "http2";
      description = "The protocol to Cloudflare: QUIC needs outgoing UDP on port 7844, HTTP/2 needs TCP on the same port.";
    };

    metricsPort = lib.mkOption {
      type = lib.types.port;
      default = 20241;
      example = 9092;
      description = "The port on 127.0.0.1 of cloudflared's `/ready` and `/metrics`.";
    };
  };

  config = lib.mkIf (cfg.enable && cfg.tunnel.enable) {
    assertions =
      assertOutsideStore {
        "services.natsMatrix.tunnel.credentialsFile" = cfg.tunnel.credentialsFile;
        "services.natsMatrix.tunnel.tokenFile" = cfg.tunnel.tokenFile;
      }
      ++ [
        {
          assertion = (cfg.tunnel.credentialsFile != null) != (cfg.tunnel.tokenFile != null);
          message = ''
            services.natsMatrix.tunnel: give exactly one of credentialsFile (a tunnel made by `cloudflared tunnel create`) and
            tokenFile (a tunnel made in the dashboard).
          '';
        }
        {
          assertion = cfg.conduit.enable;
          message = ''
            services.natsMatrix.tunnel leads to the homeserver on this machine, but conduit.enable is false.
            Set services.natsMatrix.tunnel.enable = false.
          '';
        }
      ];

    environment.etc."nats-matrix/tunnel.yml" = lib.mkIf local { source = checkedConfigFile; };

    systemd.services.nats-matrix-tunnel = lib.mkMerge [
      alwaysBack
      {
        description = "Cloudflare Tunnel to the Matrix homeserver";
        documentation = [ "https://developers.cloudflare.com/tunnel/" ];
        # The tunnel stops whenever the homeserver does: any user of this machine may then take its port, and would
        # receive the passwords that people log in with. Only the milliseconds between a crash and that stop remain. The
        # homeserver starts the tunnel again, because its own restart does not start a unit that was stopped with it.
        wantedBy = [
          "multi-user.target"
          "nats-matrix-conduit.service"
        ];
        bindsTo = [ "nats-matrix-conduit.service" ];
        wants = [ "network-online.target" ];
        # After the homeserver, because a phone that connects too early would be shown a server error.
        after = [
          "network-online.target"
          "nats-matrix-conduit.service"
        ];
        path = lib.mkForce [ ]; # it runs no programs
        restartTriggers = lib.optional local checkedConfigFile;
        environment = {
          # Makes Go collect garbage before the kernel has to reclaim memory.
          GOMEMLIMIT = "${toString (mebibytes cfg.memory.tunnel.high * 85 / 100)}MiB";
          # Nothing can answer the open requests any more, and by default cloudflared would wait 30 s for them.
          TUNNEL_GRACE_PERIOD = "1s";
          TUNNEL_METRICS = "127.0.0.1:${toString cfg.tunnel.metricsPort}";
          TUNNEL_TRANSPORT_PROTOCOL = cfg.tunnel.protocol;
        };
        serviceConfig = sandbox // {
          # cloudflared is ready once it is connected to Cloudflare's edge.
          Type = "notify";
          TimeoutStartSec = "1min";
          User = "nats-matrix-tunnel";
          ExecStart =
            "${lib.getExe cfg.tunnel.package} tunnel --no-autoupdate "
            + (
              if local then
                # The last argument may be any name that is not an id: cloudflared then uses the id in the credentials.
                "--config /etc/nats-matrix/tunnel.yml run --credentials-file %d/tunnel.json nats-matrix"
              else
                "run --token-file %d/tunnel-token"
            );
          LoadCredential = loadCredentials {
            "tunnel.json" = cfg.tunnel.credentialsFile;
            tunnel-token = cfg.tunnel.tokenFile;
          };
          # cloudflared enumerates the network interfaces.
          RestrictAddressFamilies = sandbox.RestrictAddressFamilies ++ [ "AF_NETLINK" ];
        };
      }
    ];
  };
}

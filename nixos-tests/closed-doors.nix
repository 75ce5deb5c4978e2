{ lib, nodes, ... }:
{
  constants = { };
  nodes = nodes // {
    server =
      { config, ... }:
      {
        imports = [ nodes.server ];
        services.natsMatrix.tunnel.credentialsFile = "/root/secrets/tunnel.json";
        # For `cloudflared tunnel ingress rule`.
        environment.systemPackages = [ config.services.natsMatrix.tunnel.package ];
        # It cannot reach Cloudflare here, and nothing else waits for it.
        systemd.services.nats-matrix-tunnel.serviceConfig.TimeoutStartSec = lib.mkForce "infinity";
      };
  };
}

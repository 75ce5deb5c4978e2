# The machines of the scenarios: `hub` has NATS and publishes, `server` has everything that nats-matrix declares.
{ module }:
rec {
  hub =
    { pkgs, ... }:
    {
      services.nats = {
        enable = true;
        jetstream = true;
        serverName = "hub";
      };
      networking.firewall.allowedTCPPorts = [ 4222 ];
      environment.systemPackages = [ pkgs.natscli ];
    };

  server = {
    imports = [ module ];

    # The size of a typical small server.
    virtualisation.cores = 2;
    virtualisation.memorySize = 2048;
    # The test driver sets this so that an OOM kill becomes a kernel panic, but such kills are part of a test.
    boot.kernel.sysctl."vm.panic_on_oom" = 0;

    services.natsMatrix = {
      enable = true;
      serverName = "chat.example.com";
      nats.servers = [ "nats://hub:4222" ];
      users.alice.admin = true;
      rooms.ops = {
        name = "Operations";
        invite = [ "alice" ];
      };
      routes.reports = {
        stream = "OPS";
        subjects = [ "ops.report.>" ];
        room = "ops";
        # The scenarios count messages, so there must be no digests.
        digestAbove = 0;
      };
    };
  };

  serverWithTunnel =
    { config, ... }:
    {
      imports = [ server ];
      services.natsMatrix.tunnel.credentialsFile = "/root/secrets/tunnel.json";
      # For `cloudflared tunnel ingress rule`.
      environment.systemPackages = [ config.services.natsMatrix.tunnel.package ];
    };
}

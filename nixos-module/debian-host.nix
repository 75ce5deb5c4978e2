# The host that the Debian package is made for: everything on, secrets where the package's README says.
{
  services.natsMatrix = {
    enable = true;
    serverName = "chat.example.com";
    nats = {
      servers = [ "nats://nats.example.com:4222" ];
      nkeySeedFile = "/etc/nats-matrix/secrets/nats-nkey-seed";
    };
    matrix.passwordFile = "/etc/nats-matrix/secrets/matrix-password";
    tunnel.credentialsFile = "/etc/nats-matrix/secrets/tunnel.json";
    routes.reports = {
      stream = "OPS";
      subjects = [ "ops.report.>" ];
      room = "ops";
    };
  };
}

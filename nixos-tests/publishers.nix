{ nodes, ... }:
{
  constants = { };

  nodes = {
    inherit (nodes) hub;
    server = {
      imports = [ nodes.server ];
      services.natsMatrix.reporter = {
        enable = true;
        host = "server-01";
        # What the route takes.
        alertSubject = "ops.report";
      };
    };
  };
}

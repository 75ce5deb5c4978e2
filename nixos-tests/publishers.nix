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
        # A subject that the route reads.
        alertSubject = "ops.report";
      };
    };
  };
}

{ nodes, ... }:
{
  constants = { };
  nodes = {
    inherit (nodes) hub;
    server = nodes.serverWithTunnel;
  };
}

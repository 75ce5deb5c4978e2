{ nodes, ... }:
{
  constants = { };
  nodes = { inherit (nodes) hub server; };
}

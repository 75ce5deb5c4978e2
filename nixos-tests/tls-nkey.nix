{ nodes, ... }:
{
  inherit nodes;
  constants = { };
}

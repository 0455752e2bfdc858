"""The gateway service: links to nodes, store before acknowledge, configs, the control socket, the live
view.
"""

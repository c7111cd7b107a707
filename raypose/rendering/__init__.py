"""Labelled videos, and the snippet of a video with the most motion."""

"""What several test folders share: real servers, trees and people to test with."""
